"""Batch statistics: evaluation mode uses those of the current weights, and the rest of the model stays unchanged."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from raypipe.data.reading.png import encode_png
from raypipe.models.backbones.base import main_logits
from raypipe.models.backbones.lookup import get_backbone
from raypipe.training.batch_statistics import recompute_statistics
from raypipe.training.dataset import TileDataset, iterate_batches
from raypipe.training.fit import Fit
from raypipe.training.objective import TILES, InputRule, StepInputs
from raypipe.training.recipe import Recipe

CPU = torch.device("cpu")


def textures(count: int) -> TileDataset:
    """Return smooth color fields whose contrast shows their class: learnable, and different from each other."""
    rng = np.random.default_rng(0)
    labels = [number % 2 for number in range(count)]
    fields = [rng.normal(128, 25 + 35 * label, (8, 8, 3)).clip(0, 255).astype(np.uint8) for label in labels]
    return TileDataset([encode_png(field.repeat(4, 0).repeat(4, 1)) for field in fields], labels)


def own(values: Tensor) -> Tensor:
    return values


def all_at_once(dataset: TileDataset) -> tuple[Tensor, Tensor]:
    (batch,) = iterate_batches(dataset, range(len(dataset)), len(dataset), CPU)
    return batch


def with_exact_statistics(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits if every layer uses the statistics of all tiles: one batch of all tiles, without dropout."""
    exact = copy.deepcopy(model).eval()
    for layer in exact.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
    with torch.no_grad():
        return main_logits(exact(images))


@pytest.mark.parametrize("backbone", ["resnet18", "shufflenet_v2_x0_5"])
def test_a_network_trained_for_forty_steps_scores_as_with_exact_statistics(backbone: str) -> None:
    tiles = textures(24)
    torch.manual_seed(0)
    model = get_backbone(backbone).build(2)
    recipe = Recipe(recipe="paper", epochs=20, batch_size=12, brightness=0.0)  # 2 steps per epoch
    fit = Fit(model, recipe, 2, device=CPU, seed=0)
    assert len(list(fit.epochs(tiles, 12))) == 20
    images, labels = all_at_once(tiles)
    expected = with_exact_statistics(model, images)
    lagging = model.eval()(images)
    work = fit.recalibrate(tiles, 1000, own)
    assert (work.tiles, work.forwards, work.backwards) == (24, 24, 0)
    found = model.eval()(images)
    assert torch.equal(found.argmax(1), expected.argmax(1))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert (lagging - expected).abs().max() > 10 * (found - expected).abs().max(), "there was something to correct"
    assert (found.argmax(1) == labels).float().mean() > 0.9


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Dropout(0.5), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2)
    )


def batches(count: int = 3) -> list[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng(0)
    return [
        (torch.from_numpy(rng.uniform(0, 1, (size, 3, 8, 8)).astype(np.float32)), torch.arange(size) % 2)
        for size in (7, 5, 3)[:count]
    ]


def test_batches_of_any_size_give_the_mean_and_variance_of_all_tiles() -> None:
    model = network()
    recompute_statistics(model, batches(), TILES, own)
    values = model[1](torch.cat([images for images, _ in batches()])).detach().numpy().astype(np.float64)
    layer = model[2]
    np.testing.assert_allclose(layer.running_mean, values.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var, values.var((0, 2, 3)), rtol=1e-5)


def test_workers_with_unequal_shares_get_the_statistics_of_all_of_them() -> None:
    """Emulate the sum over workers: each adds the values that the other one sent."""
    alone, sent = network(), list[Tensor]()
    recompute_statistics(alone, batches(), TILES, own)
    recompute_statistics(network(), batches()[:1], TILES, lambda values: sent.append(values) or values)
    second = network()
    recompute_statistics(second, batches()[1:], TILES, lambda values: values + sent[0])
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(second[2], name), getattr(alone[2], name))


def test_nothing_but_the_statistics_changes() -> None:
    model = network()
    model.train()
    model[2].eval()
    model[2].momentum = 0.3
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    recompute_statistics(model, batches(), TILES, own)
    assert [module.training for module in model.modules()] == modes
    assert model[2].momentum == 0.3
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"2.running_mean", "2.running_var"}


def test_statistics_are_those_of_the_inputs_that_training_shows() -> None:
    """Attack the model in evaluation mode meanwhile, which adds nothing."""

    def double(model: nn.Module, images: Tensor, labels: Tensor) -> StepInputs:
        model.eval()(images)
        return StepInputs(torch.cat([images, images / 2]), passes=1)

    model, expected = network(), network()
    work = recompute_statistics(model, batches(1), InputRule("both", double), own)
    recompute_statistics(
        expected, [(torch.cat([images, images / 2]), labels) for images, labels in batches(1)], TILES, own
    )
    assert (work.tiles, work.forwards, work.backwards) == (7, 7 + 14, 7)
    torch.testing.assert_close(model[2].running_mean, expected[2].running_mean)


def test_a_network_without_batch_normalization_costs_nothing() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    assert recompute_statistics(model, batches(), TILES, own) == (0, 0, 0)


def test_a_recalibration_leaves_the_generators_of_random_numbers_alone() -> None:
    model = get_backbone("shufflenet_v2_x0_5").build(2)
    fit = Fit(model, Recipe(epochs=1), 2, device=CPU, seed=0)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    fit.recalibrate(textures(20), 17, own)
    assert torch.equal(torch.rand(2), expected)
