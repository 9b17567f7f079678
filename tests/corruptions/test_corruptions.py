"""The promises of every corruption, checked for each on synthetic tissue."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from raypipe.attacks.engine.draws import make_generators
from raypipe.corruptions import CORRUPTIONS
from raypipe.corruptions.base import SEVERITIES
from raypipe.corruptions.focus import filter_images
from raypipe.data.tissue import render_tile


@pytest.fixture(scope="module")
def tiles() -> Tensor:
    """Return tissue tiles, (4, 3, 40, 40) in [0, 1]."""
    drawn = [render_tile(label, source, 0, size=40, seed=0) for label in ("colon_n", "lung_aca") for source in (0, 1)]
    return torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2).float() / 255


def corrupt(name: str, images: Tensor, severity: int, key: str = "seed 0") -> Tensor:
    return CORRUPTIONS[name].corrupt(images, severity, make_generators(images, key))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_grows_with_its_severity(name: str, tiles: Tensor) -> None:
    changes = []
    for severity in SEVERITIES:
        changed = corrupt(name, tiles, severity)
        assert changed.shape == tiles.shape
        assert changed.dtype == torch.float32
        assert 0 <= changed.min() <= changed.max() <= 1
        changes.append(float((changed - tiles).square().mean().sqrt()))
    assert changes[0] > 1 / 255, "even the mildest one changes the tile"
    assert changes == sorted(changes)
    assert changes[-1] < 0.4, "and the strongest one leaves something of it"


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_depends_on_the_tile_and_the_seed_alone(name: str, tiles: Tensor) -> None:
    together = corrupt(name, tiles, 3)
    torch.testing.assert_close(corrupt(name, tiles, 3), together, rtol=0, atol=0)
    alone = torch.cat([corrupt(name, tile[None], 3) for tile in tiles.flip(0)]).flip(0)
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-6)


DRAWING = sorted(CORRUPTIONS.keys() - {"defocus", "pixelation", "jpeg"})


@pytest.mark.parametrize("name", DRAWING)
def test_another_seed_draws_another_corruption(name: str, tiles: Tensor) -> None:
    same = [torch.equal(corrupt(name, tiles, 3, f"seed {seed}"), corrupt(name, tiles, 3)) for seed in range(1, 6)]
    assert not all(same)


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 9))
def test_a_filter_keeps_flat_images_flat(height: int, width: int, half: int) -> None:
    """Filter with kernels that sum to 1, also where they reach beyond the tile."""
    kernels = torch.rand(2, 2 * half + 1, 2 * half + 1)
    flat = torch.tensor([0.2, 0.7])[:, None, None, None].expand(2, 3, height, width)
    filtered = filter_images(flat, kernels / kernels.sum((1, 2), keepdim=True))
    torch.testing.assert_close(filtered, flat.contiguous(), rtol=1e-4, atol=1e-5)


def test_each_tile_is_filtered_by_its_own_kernel() -> None:
    images = torch.rand(2, 3, 5, 5)
    kernels = torch.zeros(2, 3, 3)
    kernels[0, 1, 1] = kernels[1, 1, 2] = 1
    filtered = filter_images(images, kernels)
    assert torch.equal(filtered[0], images[0])
    assert torch.equal(filtered[1, :, :, :-1], images[1, :, :, 1:])
