"""Stain augmentation: the tiles that its training shows the network."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from raypipe.corruptions import CORRUPTIONS
from raypipe.data.stains import separate_stains
from raypipe.data.tissue import render_tile
from raypipe.defenses.stain_augmentation import StainAugmentation


@pytest.fixture(scope="module")
def tiles() -> torch.Tensor:
    """Return tissue tiles, (40, 3, 32, 32) in [0, 1]: two tiles, 20 times each."""
    drawn = [render_tile(label, 0, 0, size=32, seed=0) for label in ("colon_n", "lung_aca")]
    return torch.from_numpy(np.stack(drawn * 20)).permute(0, 3, 1, 2).float() / 255


def change(tiles: torch.Tensor, seed: int = 0, **settings: Any) -> torch.Tensor:
    torch.manual_seed(seed)
    return StainAugmentation(**settings).change(tiles)


def test_nothing_to_draw_changes_nothing(tiles: torch.Tensor) -> None:
    assert torch.equal(change(tiles, stain_strength=0, corruptions=[]), tiles)
    assert torch.equal(change(tiles, stain_strength=0, corrupted_share=0), tiles)


def test_the_jitter_stays_within_its_strength_and_reaches_most_of_it(tiles: torch.Tensor) -> None:
    tiles = tiles * 0.4 + 0.4  # far from black and white, where values are clipped
    before, after = separate_stains(tiles), separate_stains(change(tiles, stain_strength=0.1, corruptions=[]))
    mean, other = before.mean((2, 3)), after.mean((2, 3))
    ratio = after.std((2, 3)) / before.std((2, 3))
    assert 0.9 - 1e-3 <= ratio.min() < 0.92
    assert 1.08 < ratio.max() <= 1.1 + 1e-3
    assert (other - ratio * mean).abs().max() <= 0.1 + 1e-3


def test_a_share_of_the_tiles_gets_one_of_the_named_corruptions(tiles: torch.Tensor) -> None:
    many = tiles.repeat(10, 1, 1, 1)
    changed = change(many, stain_strength=0, corruptions=["defocus"], corrupted_share=0.3, largest_severity=1)
    touched = (changed != many).flatten(1).any(1)
    assert touched.float().mean() == pytest.approx(0.3, abs=0.08)
    expected = CORRUPTIONS["defocus"].corrupt(many[touched], 1, [torch.Generator()] * int(touched.sum()))
    torch.testing.assert_close(changed[touched], expected)


def test_every_severity_up_to_the_largest_occurs_and_none_above(tiles: torch.Tensor) -> None:
    changed = change(tiles, stain_strength=0, corruptions=["pixelation"], corrupted_share=1, largest_severity=3)
    levels = [CORRUPTIONS["pixelation"].corrupt(tiles, severity, []) for severity in range(1, 6)]
    same = torch.stack([(changed - level).abs().flatten(1).amax(1) < 1e-6 for level in levels])
    assert same[:3].any(0).all()
    assert same[:3].any(1).all()
    assert not same[3:].any()


def test_draws_come_from_the_global_generator_alone(tiles: torch.Tensor) -> None:
    assert torch.equal(change(tiles, seed=3), change(tiles, seed=3))
    assert not torch.equal(change(tiles, seed=3), change(tiles, seed=4))


def test_all_corruptions_give_images(tiles: torch.Tensor) -> None:
    changed = change(tiles.repeat(4, 1, 1, 1), corrupted_share=1)
    assert changed.isfinite().all()
    assert 0 <= changed.min() <= changed.max() <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"corruptions": ["nose"]}, "expected pathology, or names among"),
        ({"largest_severity": 6}, "less than or equal"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        StainAugmentation(**settings)
