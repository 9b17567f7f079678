"""Robustness from minimal distortions: by how little each tile had to be changed to be misclassified.

A minimal distortion is 0 where the clean tile is misclassified already, and infinite where no attack fooled the model.
What attacks find is an upper bound: the true robust accuracy lies on or below every curve drawn here.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from raypipe.base.rounding import FLOAT_NOISE
from raypipe.evaluation.statistics.intervals import Groups, Interval, ratios

Norm = Literal["l0", "l2", "linf"]

POINTS = 33
"""Of a curve in l0 or l2."""


class Quartiles(NamedTuple):
    """The distortions that fool a model, over the tiles that it classifies right when they are clean.

    Parameters
    ----------
    tiles
        How many tiles those are.
    fooled
        For how many of them an adversarial tile was found.
    lower, median, upper
        A quarter, half and three quarters of the tiles are fooled within this; infinite, that is more than `largest`,
        where fewer are fooled at all. NaN without tiles.
    largest
        Of the distortions found; NaN if there are none.
    """

    tiles: int
    fooled: int
    lower: float
    median: float
    upper: float
    largest: float


def worst_case(
    correct: NDArray[np.bool_], fooled: NDArray[np.bool_], distortions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Each tile's smallest distortion over several attacks: the model is as robust as its best attacker lets it be.

    Carlini et al., On Evaluating Adversarial Robustness, 2019, arXiv:1902.06705: report the per-example worst case, not
    the attacks' averages.

    Parameters
    ----------
    correct
        (n,) whether the clean tile is classified right.
    fooled
        (attacks, n) whether the attack's stored tile is misclassified. One attack is a stack of one.
    distortions
        (attacks, n) the size of its perturbation, in one norm; read only where the tile was fooled.

    Returns
    -------
    ndarray
        (n,): 0 where the clean tile is misclassified, infinite where no attack succeeded.

    Raises
    ------
    ValueError
        The shapes differ, there is no attack, or the distortion of a fooled tile is negative or not a number.
    """
    if fooled.shape != distortions.shape or fooled.shape[1:] != correct.shape or not len(fooled):
        raise ValueError(
            f"correct {correct.shape}, fooled {fooled.shape}, distortions {distortions.shape}: "
            "expected (n,) and twice (attacks, n), with at least one attack"
        )
    found = np.where(fooled, distortions, np.inf)
    if not (found >= 0).all():
        raise ValueError("distortions of fooled tiles: expected numbers of at least 0")
    return np.where(correct, found.min(axis=0), 0.0)


def eps_grid(distortions: NDArray[np.float64], norm: Norm, points: int = POINTS) -> NDArray[np.float64]:
    """Perturbation sizes from 0 to where the curve reaches its floor: beyond the largest distortion it is flat.

    Parameters
    ----------
    distortions
        Minimal distortions, of all the models whose curves are to be compared.
    norm
        linf: every step of 1/255, as stored 8-bit images have no others. l0 and l2, whose few largest distortions are
        many times the median: quantiles of the distortions, so that the curve falls evenly from point to point;
        whole numbers in l0.
    points
        At most so many in l0 and l2.

    Returns
    -------
    ndarray
        Increasing, the first is 0, and the only one if no tile was fooled.
    """
    found = distortions[np.isfinite(distortions) & (distortions > 0)]
    if not len(found):
        return np.zeros(1)
    if norm == "linf":
        return np.arange(np.ceil(found.max() * 255 * (1 - FLOAT_NOISE)) + 1) / 255
    chosen = np.quantile(found, np.linspace(0, 1, points)[1:], method="higher")
    return np.unique(np.concatenate([[0.0], np.ceil(chosen) if norm == "l0" else chosen]))


def robust_accuracy(distortions: NDArray[np.float64], eps: NDArray[np.float64], groups: Groups) -> tuple[Interval, ...]:
    """Accuracy under perturbations of up to each size: the share of tiles whose minimal distortion is larger.

    It never rises with eps, and at 0 it is the clean accuracy. Read it against
    `raypipe.evaluation.statistics.metrics.chance_accuracy`: a model that always names one label is never fooled.

    Parameters
    ----------
    distortions
        (n,) minimal distortions.
    eps
        Increasing, of at least 0, in the norm of the distortions.
    groups
        Of the tiles.

    Raises
    ------
    ValueError
        Sizes that do not increase or are negative, or distortions that are.
    """
    if not ((np.diff(eps, prepend=-1) > 0).all() and np.all(eps >= 0)):
        raise ValueError(f"eps = {eps.tolist()}: expected increasing numbers of at least 0")
    if not (distortions >= 0).all():
        raise ValueError("distortions: expected numbers of at least 0, infinite where no attack succeeded")
    within = np.searchsorted(eps * (1 + FLOAT_NOISE), distortions)  # how many eps are too small to fool the tile
    tiles = groups.tally(within, len(eps) + 1)
    robust = tiles[:, :0:-1].cumsum(axis=1)[:, ::-1]
    return ratios(robust, tiles.sum(axis=1, keepdims=True))


def quartiles(distortions: NDArray[np.float64]) -> Quartiles:
    """Median and quartiles of the distortions that fool a model, tiles never fooled included.

    Parameters
    ----------
    distortions
        (n,) minimal distortions. Zeros, of tiles misclassified when clean, do not count.
    """
    counted = distortions[distortions > 0]
    found = counted[np.isfinite(counted)]
    # Quantiles that are distortions of a tile: the mean of a finite and an infinite one says nothing.
    marks = np.quantile(counted, (0.25, 0.5, 0.75), method="inverted_cdf") if len(counted) else np.full(3, np.nan)
    largest = float(found.max()) if len(found) else np.nan
    lower, median, upper = marks.tolist()
    return Quartiles(len(counted), len(found), lower, median, upper, largest)
