from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from raypipe.data.reading.png import encode_png
from raypipe.models.checkpoint import ModelCard, save_classifier
from raypipe.models.classifier import Classifier
from raypipe.training.dataset import TileDataset, iterate_batches
from raypipe.training.fit import Fit
from raypipe.training.objective import smoothed_cross_entropy
from raypipe.training.optimization import WeightAverage, make_optimizer, make_schedule
from raypipe.training.recipe import Recipe
from raypipe.training.validation import validate

CPU = torch.device("cpu")


def dataset(count: int = 24) -> TileDataset:
    """Return dark and bright noise, which is learnable but not within one epoch."""
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


def plain(**changes: Any) -> Recipe:
    return Recipe(recipe="paper", batch_size=8, brightness=0.0, **changes)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_a_fit_learns(optimizer: str, schedule: str) -> None:
    recipe = plain(epochs=8, learning_rate=0.02, optimizer=optimizer, schedule=schedule)
    records = list(fit(network(), recipe).epochs(dataset(), 8))
    assert [record.epoch for record in records] == list(range(1, 9))
    assert records[-1].loss < records[0].loss / 2
    assert records[-1].accuracy >= 0.9


@pytest.mark.parametrize("recipe", ["standard", "paper"])
def test_an_interrupted_fit_goes_on_as_the_undisturbed_one_would(recipe: str) -> None:
    check_resuming(Recipe(recipe=recipe, epochs=4, batch_size=8))


def check_resuming(recipe: Recipe) -> None:
    undisturbed = network()
    control = fit(undisturbed, recipe)
    whole = list(control.epochs(dataset(), 8))

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
    for name, value in control.evaluated.state_dict().items():
        torch.testing.assert_close(second.evaluated.state_dict()[name], value, rtol=0, atol=0)


def test_bf16_trains_float32_parameters() -> None:
    model = network()
    record = next(fit(model, Recipe(epochs=1, batch_size=8, precision="bf16")).epochs(dataset(), 8))
    assert np.isfinite(record.loss)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_last_batch_of_one_tile_is_left_out() -> None:
    record = next(fit(network(), Recipe(epochs=1, batch_size=8)).epochs(dataset(17), 8))
    assert record.tiles == 16


def test_a_fit_that_diverges_says_so() -> None:
    recipe = plain(epochs=5, learning_rate=1e30, optimizer="sgd")
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        list(fit(network(), recipe).epochs(dataset(), 8))


def test_brightness_is_part_of_training_only_as_far_as_asked() -> None:
    def first_loss(brightness: float) -> float:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
        return next(
            fit(model, plain(epochs=1).model_copy(update={"brightness": brightness})).epochs(dataset(), 24)
        ).loss

    assert first_loss(0.0) == first_loss(0.0)
    assert first_loss(0.0) != first_loss(0.5)


def test_weights_with_channels_last_train_the_same_and_can_be_stored() -> None:
    card = ModelCard("convnet", ("a", "b"), 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    contiguous, last = (Classifier(network(), card.mean, card.std) for _ in range(2))
    before = list(fit(contiguous, plain(epochs=3)).epochs(dataset(), 8))
    after = list(fit(last.to(memory_format=torch.channels_last), plain(epochs=3)).epochs(dataset(), 8))
    assert [record.loss for record in after] == pytest.approx([record.loss for record in before], rel=1e-4)
    assert save_classifier(last, card), "stored weights are contiguous"


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_learning_rate_rises_and_then_does_what_the_schedule_says(schedule: str) -> None:
    recipe = plain(epochs=10, learning_rate=1.0, schedule=schedule, warm_up=0.2, optimizer="sgd", momentum=0.0)
    weight = nn.Linear(1, 1)
    optimizer = make_optimizer(weight, recipe)
    schedule_ = make_schedule(optimizer, recipe, 50)
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule_.step()
    np.testing.assert_allclose(rates[:11], np.linspace(0.01, 1, 11))
    falling = 0.5 * (1 + np.cos(np.pi * np.arange(40) / 40)) if schedule == "cosine" else np.ones(40)
    np.testing.assert_allclose(rates[10:], falling, rtol=1e-6)


def test_gradients_are_shortened_to_the_norm_asked_for() -> None:
    """Use plain SGD, whose step is the learning rate times the gradient."""
    moved = {}
    for clip in (None, 0.01):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
        before = torch.cat([weight.detach().flatten().clone() for weight in model.parameters()])
        recipe = plain(epochs=1, optimizer="sgd", momentum=0.0, learning_rate=1.0, clip_norm=clip)
        recipe = recipe.model_copy(update={"batch_size": 24, "schedule": "constant"})
        list(Fit(model, recipe, 1, device=CPU, seed=0).epochs(dataset(), 24))
        after = torch.cat([weight.detach().flatten() for weight in model.parameters()])
        moved[clip] = float((after - before).norm())
    assert moved[None] > 0.01
    assert moved[0.01] == pytest.approx(0.01, rel=1e-4)


def test_the_average_of_the_weights_is_what_is_evaluated() -> None:
    model = nn.Linear(2, 1)
    average = WeightAverage(model, 0.5)
    expected = model.weight.detach().clone()
    for step in range(1, 30):
        with torch.no_grad():
            model.weight.fill_(float(step))
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    torch.testing.assert_close(average.model.weight, expected)
    averaged = fit(network(), plain(epochs=2, ema=0.9))
    list(averaged.epochs(dataset(), 8))
    assert averaged.evaluated is not averaged.model
    assert not torch.equal(averaged.evaluated[0].weight, averaged.model[0].weight)  # type: ignore[index]


def test_smoothed_labels_give_the_cross_entropy_against_them() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0, 2, 1, 0])
    smooth = 0.9 * nn.functional.one_hot(labels, 3) + 0.1 / 3
    expected = -(smooth * logits.log_softmax(1)).sum(1).mean()
    scored = smoothed_cross_entropy(0.1)(nn.Identity(), logits, labels, 0.0)
    torch.testing.assert_close(scored.loss, expected)


def test_validation_is_the_plain_cross_entropy_in_evaluation_mode() -> None:
    model, tiles = network().train(), dataset()
    (images, labels), *_ = iterate_batches(tiles, range(24), 24, CPU)
    loss, right, count = validate(model, tiles, CPU).tolist()
    assert model.training
    assert all(module.training for module in model.modules())
    logits = model.eval()(images)
    assert loss / count == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert (right, count) == (int((logits.argmax(1) == labels).sum()), 24)
