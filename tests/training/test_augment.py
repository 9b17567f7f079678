"""Augmentation: the effect of each kind on tiles, compared with independent computations."""

import itertools

import numpy as np
import pytest
import torch

from raypipe.data.stains import combine_stains, jitter_stains, separate_stains
from raypipe.training.augment import augment, flip_and_turn
from raypipe.training.recipe import Recipe


def images(count: int = 8, size: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).uniform(0.05, 1, (count, 3, size, size)).astype(np.float32))


def test_the_eight_orientations_are_those_of_flips_and_quarter_turns() -> None:
    tile = images(1)
    turned = flip_and_turn(tile.expand(8, -1, -1, -1), torch.arange(8)).numpy()
    expected = [
        np.rot90(flipped, quarter, axes=(1, 2))
        for flipped, quarter in itertools.product((tile[0].numpy(), tile[0].numpy()[:, :, ::-1]), range(4))
    ]
    for orientation in expected:
        assert sum(np.array_equal(orientation, found) for found in turned) == 1


def test_stains_are_those_of_beer_and_lambert_solved_pixel_by_pixel() -> None:
    """Compare with least squares for each pixel, with the published stain vectors, independently of the code."""
    stains = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
    tiles = images(2, 3)
    found = separate_stains(tiles).numpy()
    for tile, row, column in itertools.product(range(2), range(3), range(3)):
        density = -np.log(tiles[tile, :, row, column].numpy().astype(np.float64))
        amounts, *_ = np.linalg.lstsq(stains.T, density, rcond=None)
        np.testing.assert_allclose(found[tile, :, row, column], amounts, atol=1e-4)


def test_a_pixel_of_pure_hematoxylin_has_no_other_stain() -> None:
    pixel = torch.exp(-torch.tensor([0.65, 0.70, 0.29])).view(1, 3, 1, 1)
    assert separate_stains(pixel).flatten().tolist() == pytest.approx([1, 0, 0], abs=1e-5)


def test_combining_undoes_separating_and_a_jitter_of_nothing_changes_nothing() -> None:
    tiles = images()
    torch.testing.assert_close(combine_stains(separate_stains(tiles)), tiles, atol=1e-5, rtol=0)
    same = jitter_stains(tiles, torch.ones(8, 3), torch.zeros(8, 3))
    torch.testing.assert_close(same, tiles, atol=1e-5, rtol=0)


def test_a_jitter_scales_and_shifts_the_stains_of_its_own_tile() -> None:
    tiles = images(2) * 0.5 + 0.2  # far from black and white, where values are clipped
    factors, shifts = (
        torch.tensor([[1.1, 0.9, 1.0], [1.0, 1.0, 1.0]]),
        torch.tensor([[0.02, 0.0, 0.01], [0.0, 0.0, 0.0]]),
    )
    before, after = separate_stains(tiles), separate_stains(jitter_stains(tiles, factors, shifts))
    torch.testing.assert_close(
        after[0], before[0] * factors[0, :, None, None] + shifts[0, :, None, None], atol=1e-4, rtol=0
    )
    torch.testing.assert_close(after[1], before[1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kinds", ["none", "flips_and_turns", "hed_jitter", ["hed_jitter", "flips_and_turns"]])
def test_augmented_tiles_are_images_and_are_drawn_from_the_seed(kinds: str | list[str]) -> None:
    recipe = Recipe(augment=kinds, brightness=0.0)
    tiles = torch.cat([images(), torch.zeros(1, 3, 5, 5), torch.ones(1, 3, 5, 5)])
    torch.manual_seed(0)
    first = augment(tiles, recipe)
    torch.manual_seed(0)
    assert torch.equal(augment(tiles, recipe), first)
    assert first.isfinite().all()
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.equal(first, tiles) == (kinds == "none")
    if kinds == "flips_and_turns":
        assert torch.equal(first.flatten(2).sort().values, tiles.flatten(2).sort().values), "only places change"
    if kinds == "hed_jitter":
        assert (first - tiles).abs().max() < 0.2
