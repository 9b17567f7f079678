"""Robustness from minimal distortions: the smallest perturbation with which each tile is misclassified.

A minimal distortion is 0 where the clean tile is misclassified already, and infinite where no attack fooled the model.
Attacks find upper bounds of it. So the true robust accuracy lies on or below every curve that is drawn from them.
"""

from bisect import bisect_left
from math import ceil, inf, nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raypipe.base.norms import StoredNorm
from raypipe.base.rounding import FLOAT_NOISE
from raypipe.evaluation.statistics.intervals import Groups, Interval, estimate_ratios

POINTS = 33
"""Maximum number of points of a curve in L0 or L2."""


class Quartiles(NamedTuple):
    """Quartiles of the distortions that fool a model, over the tiles that it classifies correctly without an attack.

    Parameters
    ----------
    tiles
        Number of those tiles.
    fooled
        Number of those tiles for which an adversarial example was found.
    lower, median, upper
        Sizes within which a quarter, half and three quarters of the tiles are fooled. Infinite, which means more than
        `largest`, if fewer tiles are fooled at all. NaN without tiles.
    largest
        Largest distortion found; NaN if there is none.
    """

    tiles: int
    fooled: int
    lower: float
    median: float
    upper: float
    largest: float


def find_worst_case(
    correct: NDArray[np.bool_], fooled: NDArray[np.bool_], distortions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return each tile's smallest distortion over several attacks. A model is as robust as its strongest attack shows.

    Parameters
    ----------
    correct
        (n,) True where the clean tile is classified correctly.
    fooled
        (attacks, n) True where the attack's stored tile is misclassified. A single attack has one row.
    distortions
        (attacks, n) size of the perturbation, in one norm. It is read only where the tile was fooled.

    Returns
    -------
    ndarray
        (n,) smallest distortions: 0 where the clean tile is misclassified, infinite where no attack succeeded.

    Raises
    ------
    ValueError
        If the shapes differ, if there is no attack, or if the distortion of a fooled tile is negative or not a number.

    References
    ----------
    N. Carlini et al., On Evaluating Adversarial Robustness, 2019, arXiv:1902.06705: report the worst case per example,
    not the averages of the attacks.
    """
    if fooled.shape != distortions.shape or fooled.shape[1:] != correct.shape or not len(fooled):
        raise ValueError(
            f"correct {correct.shape}, fooled {fooled.shape}, distortions {distortions.shape}: "
            "expected (n,) and twice (attacks, n), with at least one attack"
        )
    sizes = np.where(fooled, distortions, np.inf)
    if not (sizes >= 0).all():
        raise ValueError("distortions of fooled tiles: expected numbers of at least 0")
    return np.where(correct, sizes.min(axis=0), 0.0)


def build_eps_grid(distortions: NDArray[np.float64], norm: StoredNorm, points: int = POINTS) -> NDArray[np.float64]:
    """Return the perturbation sizes of a curve, from 0 to the size beyond which the curve is flat.

    Parameters
    ----------
    distortions
        Minimal distortions of all models whose curves are compared. The curves are flat beyond the largest one.
    norm
        Norm of the distortions. In L-infinity the sizes are all steps of 1/255, because stored 8-bit images have no
        others. In L0 and L2 the few largest distortions are many times the median. There the sizes are quantiles of the
        distortions, so that the curve falls evenly from point to point. In L0 they are whole numbers.
    points
        Maximum number of sizes in L0 and L2.

    Returns
    -------
    ndarray
        Increasing sizes. The first one is 0, and it is the only one if no tile was fooled.
    """
    sizes = distortions[np.isfinite(distortions) & (distortions > 0)]
    if not len(sizes):
        return np.zeros(1)
    if norm == "linf":
        return np.arange(np.ceil(sizes.max() * 255 * (1 - FLOAT_NOISE)) + 1) / 255
    quantiles = np.quantile(sizes, np.linspace(0, 1, points)[1:], method="higher")
    return np.unique(np.concatenate([[0.0], np.ceil(quantiles) if norm == "l0" else quantiles]))


def compute_robust_accuracy(
    distortions: NDArray[np.float64], eps: NDArray[np.float64], groups: Groups
) -> tuple[Interval, ...]:
    """Return robust accuracy at each eps: the share of tiles whose minimal distortion is larger than eps.

    It never rises with eps, and at 0 it is the clean accuracy. Compare it with
    `raypipe.evaluation.statistics.metrics.compute_chance_accuracy`, because a model that always predicts one label is
    never fooled.

    Parameters
    ----------
    distortions
        (n,) minimal distortions.
    eps
        Increasing sizes of at least 0, in the norm of the distortions.
    groups
        Groups of the tiles.

    Raises
    ------
    ValueError
        If sizes do not increase, or if a size or a distortion is negative.
    """
    if not ((np.diff(eps, prepend=-1) > 0).all() and np.all(eps >= 0)):
        raise ValueError(f"eps = {eps.tolist()}: expected increasing numbers of at least 0")
    if not (distortions >= 0).all():
        raise ValueError("distortions: expected numbers of at least 0, infinite where no attack succeeded")
    within = np.searchsorted(eps * (1 + FLOAT_NOISE), distortions)  # number of eps that are too small to fool the tile
    tiles = groups.tally(within, len(eps) + 1)
    robust = tiles[:, :0:-1].cumsum(axis=1)[:, ::-1]
    return estimate_ratios(robust, tiles.sum(axis=1, keepdims=True))


def compute_quartiles(distortions: NDArray[np.float64]) -> Quartiles:
    """Return the median and quartiles of the distortions that fool a model. Tiles that are never fooled count too.

    Parameters
    ----------
    distortions
        (n,) minimal distortions. Zeros, of tiles that are misclassified without an attack, do not count.
    """
    sizes = np.sort(distortions[distortions > 0]).tolist()
    fooled = bisect_left(sizes, inf)
    # Each quantile is the distortion of a tile, as with the method "inverted_cdf" of NumPy: the mean of a finite and an
    # infinite one has no meaning.
    lower, median, upper = (
        sizes[max(ceil(len(sizes) * share) - 1, 0)] if sizes else nan for share in (0.25, 0.5, 0.75)
    )
    return Quartiles(len(sizes), fooled, lower, median, upper, sizes[fooled - 1] if fooled else nan)
