"""One pattern for all tiles: its size, its strength and its determinism, on a network that a pattern can fool."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from raypipe.attacks.engine.prepare import PreparedModel, prepare
from raypipe.attacks.universal import Pattern, Universal, round_pattern, train_pattern
from raypipe.base.norms import Norm
from raypipe.evaluation.predict import predict
from raypipe.evaluation.results.patterns import apply_pattern

CPU = torch.device("cpu")
SIZE, TILES = 8, 40
BALLS: list[tuple[Norm, float]] = [("linf", 4 / 255), ("linf", 2.5 / 255), ("l2", 0.2)]


class Stripes(nn.Module):
    """A network that looks at stripes, which a random pattern hardly has."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        sign = torch.where(torch.arange(SIZE) % 2 == 0, 1.0, -1.0)
        lead = 100 * (images.mean(1) * sign[:, None]).mean((1, 2))
        return torch.stack([-lead, lead], 1)


@pytest.fixture(scope="module")
def tiles() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return noisy tiles whose stripes are 1 to 3 steps high, and their classes, all of them 1 but for a few."""
    random = np.random.default_rng(0)
    labels = (np.arange(TILES) % 8 != 0).astype(np.int64)
    sign = np.where(np.arange(SIZE) % 2 == 0, 1, -1)
    height = random.integers(1, 4, TILES) * (2 * labels - 1)
    images = random.integers(100, 120, (TILES, 1, SIZE, 3)) + height[:, None, None, None] * sign[:, None, None]
    return images.astype(np.uint8), labels


@pytest.fixture(scope="module")
def model() -> PreparedModel:
    return prepare(Stripes(), (3, SIZE, SIZE), device="cpu", batch_size=16)


def train(
    model: PreparedModel, tiles: tuple[NDArray[np.uint8], NDArray[np.int64]], seed: int = 0, **own: Any
) -> Pattern:
    return train_pattern(model, *tiles, Universal(**{"epochs": 5, **own}), seed)


def size(change: NDArray[np.int16], norm: Norm) -> float:
    scaled = change.astype(np.float64) / 255
    return float(np.abs(scaled).max() if norm == "linf" else np.linalg.norm(scaled))


@pytest.mark.parametrize(("norm", "eps"), BALLS)
def test_both_patterns_stay_within_eps_and_use_most_of_it(
    norm: Norm, eps: float, model: PreparedModel, tiles: tuple[NDArray[np.uint8], NDArray[np.int64]]
) -> None:
    pattern = train(model, tiles, norm=norm, eps=eps)
    for change in (pattern.change, pattern.random):
        assert change.shape == (SIZE, SIZE, 3)
        assert 0.7 * eps < size(change, norm) <= eps * (1 + 1e-6)


@pytest.mark.parametrize(("norm", "eps"), BALLS)
def test_the_pattern_fools_far_more_tiles_than_a_random_one(
    norm: Norm, eps: float, model: PreparedModel, tiles: tuple[NDArray[np.uint8], NDArray[np.int64]]
) -> None:
    pattern = train(model, tiles, norm=norm, eps=eps)
    assert pattern.fooled > pattern.random_fooled + 0.4
    images, _ = tiles
    before, after = (
        predict(Stripes(), each, 16, CPU).argmax(1) for each in (images, apply_pattern(images, pattern.change))
    )
    assert (before != after).mean() == pytest.approx(pattern.fooled), "the share is that of 8-bit images"


def test_the_pattern_depends_on_the_seed_alone(
    model: PreparedModel, tiles: tuple[NDArray[np.uint8], NDArray[np.int64]]
) -> None:
    first, second, other = (train(model, tiles, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.change, second.change)
    np.testing.assert_array_equal(first.random, second.random)
    assert (first.random != other.random).any()


def test_a_model_without_a_gradient_gets_the_random_pattern(
    tiles: tuple[NDArray[np.uint8], NDArray[np.int64]],
) -> None:
    class Rounded(Stripes):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images).round().detach()

    pattern = train(prepare(Rounded(), (3, SIZE, SIZE), device="cpu", batch_size=16), tiles)
    assert pattern.fooled >= pattern.random_fooled


def test_passes_are_counted(model: PreparedModel, tiles: tuple[NDArray[np.uint8], NDArray[np.int64]]) -> None:
    pattern = train(model, tiles, epochs=3)
    assert pattern.backwards == 3 * TILES
    assert pattern.forwards == (3 + 2 + 3) * TILES  # ascent, before and random, after each epoch


def test_tiles_with_a_pattern_stay_within_eight_bits() -> None:
    images = np.array([[[[0, 128, 255]]]], np.uint8)
    np.testing.assert_array_equal(apply_pattern(images, np.full((1, 1, 3), 9, np.int16)), [[[[9, 137, 255]]]])
    np.testing.assert_array_equal(apply_pattern(images, np.full((1, 1, 3), -9, np.int16)), [[[[0, 119, 246]]]])


def test_a_pattern_is_rounded_to_whole_steps() -> None:
    offset = torch.full((3, 2, 2), 2.4 / 255)
    assert (round_pattern(offset, Universal(eps=2.5 / 255)) == 2).all()
    assert (round_pattern(-offset * 2, Universal(eps=2.5 / 255)) == -2).all()
