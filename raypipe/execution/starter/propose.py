"""Settings that suit a data set: tile size, split, and radii of attacks."""

import statistics
from dataclasses import dataclass

from raypipe.data.reading.deep_images import count_bits
from raypipe.execution.starter.look import Look

LARGEST_TILE = 256
"""Largest size in pixels of tiles that are taken as they are. Larger images are reduced to `USUAL_TILE`."""
USUAL_TILE = 224
LEAST_TILE = 32
SMALL_TILE = 64
"""Size up to which the radius of CIFAR-10 suits, 8/255; for larger tiles that of ImageNet does, 4/255."""
TEST_TILES = 200
"""Number of attacked tiles, enough for an interval of 14 percentage points."""


@dataclass(frozen=True)
class Proposal:
    """Settings of a first experiment.

    Parameters
    ----------
    size
        Height and width of tiles, in pixels.
    split
        Kind of the split.
    eps
        Numerator of the radius in linf, which is divided by 255.
    l2
        Radius in L2 of the same tiles.
    tiles
        Number of attacked tiles; None for all.
    epochs, batch_size
        Settings of the training.
    bit_depth
        Number of bits that 16-bit images use; None if they use all, or state it.
    """

    size: int
    split: str
    eps: int
    l2: float
    tiles: int | None
    epochs: int
    batch_size: int
    bit_depth: int | None = None


def propose(look: Look, *, grouped: bool) -> Proposal:
    """Return settings for a data set.

    Parameters
    ----------
    grouped
        True if groups are known, from the data set, from names or from the audit.
    """
    count = sum(look.counts.values())
    usual = statistics.median(min(size) for size in _list_sizes(look)) if look.sizes else USUAL_TILE
    size = max(LEAST_TILE, int(usual)) if usual <= LARGEST_TILE else USUAL_TILE
    eps = 8 if size <= SMALL_TILE else 4
    return Proposal(
        size=size,
        split="group" if grouped else "official" if look.official else "paper",
        eps=eps,
        l2=round(0.5 * size / 32, 2),
        tiles=TEST_TILES if count * 0.3 > TEST_TILES else None,
        epochs=10 if count >= 1000 else 20,
        batch_size=32 if count >= 200 else 8,
        bit_depth=count_bits(max(look.dark)) if look.dark else None,
    )


def _list_sizes(look: Look) -> list[tuple[int, int]]:
    return [size for size, number in look.sizes.items() for _ in range(number)]
