"""Findings of the sanity checks, and the number of tiles that a pass needs.

A check that nothing broke says little on few tiles. It passes only on as many as would have shown a failure on a
quarter of all tiles with a probability of 95 %: 11 where not one tile may break it, 18 where one may. On fewer it is
not applicable. It fails on any number: what broke it is there.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtri  # what scipy.stats would be asked, without half a second of imports

MISSED = 0.05
"""Probability with which a failure on `FAILING` of the tiles may be missed."""
FAILING = 0.25
TILES_PER_LOST = 200

Ruling = Literal["pass", "fail", "not applicable"]


class Finding(NamedTuple):
    """A verdict, and the numbers it rests on, or why there is none."""

    verdict: Ruling
    figure: str


def count_allowed(tiles: int) -> int:
    """Return how many of so many tiles a weaker attack may fool alone: one, or one in 200 if that is more."""
    return max(1, tiles // TILES_PER_LOST)


def least_tiles(allowed: int) -> int:
    """Return how many tiles a check needs to pass that fails if more than `allowed` of them break it.

    Parameters
    ----------
    allowed
        At least 0.
    """
    tiles = allowed + 1
    while bdtr(allowed, tiles, FAILING) > MISSED:
        tiles += 1
    return tiles


def missed_share(tiles: int, allowed: int) -> float:
    """Return the largest share of tiles on which a failure may go unseen, with a probability of 5 %.

    Parameters
    ----------
    tiles
        Number of tiles that were judged, more than `allowed`.
    allowed
        Number of them that may break the check.
    """
    return float(bdtri(allowed, tiles, MISSED))


def judge(broken: int, allowed: int, tiles: int, figure: str) -> Finding:
    """Judge a check by the tiles that break it.

    Parameters
    ----------
    broken, allowed
        Number of tiles that break the check, and that may.
    tiles
        Number of tiles it was made on.
    figure
        The numbers, for a reader.
    """
    if broken > allowed:
        return Finding("fail", figure)
    if tiles < least_tiles(min(allowed, 1)):
        return Finding("not applicable", f"{figure}; a pass needs at least {least_tiles(min(allowed, 1))} tiles")
    return Finding("pass", figure)


def unknown(*names: str) -> Finding:
    """Return that a check cannot be made, and what it lacks."""
    return Finding("not applicable", f"not measured: {', '.join(names)}")


def require_aligned(first: NDArray[np.generic], second: NDArray[np.generic], names: str) -> None:
    """See that two arrays are of the same tiles.

    Raises
    ------
    ValueError
        If they are not both (n,) with n >= 1.
    """
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(f"{names}: {first.shape} and {second.shape}, expected the same tiles, (n,) with n >= 1")
