"""Findings of the sanity checks, and the number of tiles that a check needs to pass.

On few tiles, a check that no tile broke says little. It passes only on enough tiles to show, with a probability of
95 %, a failure on a quarter of all tiles: 11 tiles if none may break it, 18 if one may. On fewer tiles it is not
applicable. A check can fail on any number of tiles, because the tiles that broke it are evidence enough.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtri  # functions behind scipy.stats, whose import takes half a second

MISSED = 0.05
"""Probability with which a check may miss a failure on a share `FAILING` of the tiles."""
FAILING = 0.25
TILES_PER_LOST = 200

Ruling = Literal["pass", "fail", "not applicable"]


class Finding(NamedTuple):
    """A verdict, and the numbers that it rests on or the reason why there is none."""

    verdict: Ruling
    figure: str


def count_allowed(tiles: int) -> int:
    """Return how many of `tiles` tiles only the weaker attack may fool: one, or one in 200 if that is more."""
    return max(1, tiles // TILES_PER_LOST)


def compute_least_tiles(allowed: int) -> int:
    """Return the number of tiles that a check needs to pass if it fails on more than `allowed` broken tiles.

    Parameters
    ----------
    allowed
        Number of tiles that may break the check, at least 0.
    """
    tiles = allowed + 1
    while bdtr(allowed, tiles, FAILING) > MISSED:
        tiles += 1
    return tiles


def compute_missed_share(tiles: int, allowed: int) -> float:
    """Return the largest share of tiles on which a failure may be missed with a probability of 5 %.

    Parameters
    ----------
    tiles
        Number of tiles that were judged, more than `allowed`.
    allowed
        Number of these tiles that may break the check.
    """
    return float(bdtri(allowed, tiles, MISSED))


def judge(broken: int, allowed: int, tiles: int, figure: str) -> Finding:
    """Judge a check by the tiles that break it.

    Parameters
    ----------
    broken, allowed
        Number of tiles that break the check, and number of tiles that may break it.
    tiles
        Number of tiles that the check was run on.
    figure
        The numbers behind the verdict, as a text for the reader.
    """
    if broken > allowed:
        return Finding("fail", figure)
    if tiles < compute_least_tiles(min(allowed, 1)):
        return Finding(
            "not applicable", f"{figure}; a pass needs at least {compute_least_tiles(min(allowed, 1))} tiles"
        )
    return Finding("pass", figure)


def report_missing(*names: str) -> Finding:
    """Return a finding that a check is not applicable, with the names of the measurements that it lacks."""
    return Finding("not applicable", f"not measured: {', '.join(names)}")


def require_aligned(first: NDArray[np.generic], second: NDArray[np.generic], names: str) -> None:
    """Check that two arrays belong to the same tiles.

    Raises
    ------
    ValueError
        If they do not both have the shape (n,) with n >= 1.
    """
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(f"{names}: {first.shape} and {second.shape}, expected the same tiles, (n,) with n >= 1")
