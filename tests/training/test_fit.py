import numpy as np
import pytest
import torch
from torch import nn

from raypipe.data.png import encode_png
from raypipe.models.checkpoint import ModelCard, save_classifier
from raypipe.models.classifier import Classifier
from raypipe.training.fit import Fit, TileDataset, memory_format
from raypipe.training.recipe import Recipe

CPU = torch.device("cpu")


def dataset(count: int = 24) -> TileDataset:
    """Dark and bright noise: learnable, and with something left to learn after an epoch."""
    rng = np.random.default_rng(0)
    labels = [i % 2 for i in range(count)]
    images = [rng.integers(0, 150 if label else 255, (8, 8, 3)).astype(np.uint8) for label in labels]
    return TileDataset([encode_png(image) for image in images], labels)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(144, 2)
    )


def fit(model: nn.Module, recipe: Recipe) -> Fit:
    return Fit(model, recipe, steps_per_epoch=3, device=CPU, seed=7)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_a_fit_learns(optimizer: str, schedule: str) -> None:
    recipe = Recipe(epochs=8, batch_size=8, learning_rate=0.02, optimizer=optimizer, schedule=schedule)
    records = list(fit(network(), recipe).epochs(dataset(), 8))
    assert [record.epoch for record in records] == list(range(1, 9))
    assert records[-1].loss < records[0].loss / 2
    assert records[-1].accuracy >= 0.9


def test_an_interrupted_fit_goes_on_as_the_undisturbed_one_would() -> None:
    recipe = Recipe(epochs=4, batch_size=8)
    undisturbed = network()
    whole = list(fit(undisturbed, recipe).epochs(dataset(), 8))

    model = network()
    first = fit(model, recipe)
    epochs = first.epochs(dataset(), 8)
    next(epochs), next(epochs)
    weights, state = {k: v.clone() for k, v in model.state_dict().items()}, first.state()

    resumed = network()
    resumed.load_state_dict(weights)
    second = fit(resumed, recipe)
    second.restore(state)
    rest = list(second.epochs(dataset(), 8))
    assert [record.epoch for record in rest] == [3, 4]
    assert [record.loss for record in second.history] == [record.loss for record in whole]
    for name, value in undisturbed.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)


def test_bf16_trains_float32_parameters() -> None:
    model = network()
    record = next(fit(model, Recipe(epochs=1, batch_size=8, precision="bf16")).epochs(dataset(), 8))
    assert np.isfinite(record.loss)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_last_batch_of_one_tile_is_left_out() -> None:
    record = next(fit(network(), Recipe(epochs=1, batch_size=8)).epochs(dataset(17), 8))
    assert record.tiles == 16


def test_a_fit_that_diverges_says_so() -> None:
    recipe = Recipe(epochs=5, batch_size=8, learning_rate=1e30, optimizer="sgd")
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        list(fit(network(), recipe).epochs(dataset(), 8))


def test_brightness_is_part_of_training_only_as_far_as_asked() -> None:
    def first_loss(brightness: float) -> float:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
        return next(fit(model, Recipe(epochs=1, batch_size=24, brightness=brightness)).epochs(dataset(), 24)).loss

    assert first_loss(0.0) == first_loss(0.0)
    assert first_loss(0.0) != first_loss(0.5)


def test_channels_last_as_on_a_gpu_trains_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory_format(torch.device("cuda")) is torch.channels_last
    plain = network()
    before = list(fit(plain, Recipe(epochs=3, batch_size=8)).epochs(dataset(), 8))
    monkeypatch.setattr("raypipe.training.fit.memory_format", lambda device: torch.channels_last)
    last = network().to(memory_format=torch.channels_last)
    after = list(fit(last, Recipe(epochs=3, batch_size=8)).epochs(dataset(), 8))
    assert [record.loss for record in after] == pytest.approx([record.loss for record in before], rel=1e-4)
    card = ModelCard("convnet", ("a", "b"), 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert save_classifier(Classifier(last, card.mean, card.std), card), "what is stored is contiguous"
