"""Calibration: agreement of confidence and accuracy, such as 90 % confidence with nine correct tiles in ten."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raypipe.evaluation.statistics.intervals import Groups, Interval, divide, ratios
from raypipe.evaluation.statistics.shares import TAIL

BINS = 15
"""Number of bins of Guo et al. (2017)."""
METHOD = "95 % intervals of the calibration error: basic bootstrap over groups, widened by the interval of accuracy."
REPLICATES = 2000
"""Number of replicates. 50 of them lie beyond either bound; Davison and Hinkley (1997, section 5.2.3) ask for about
1,000."""


class Bin(NamedTuple):
    """The tiles whose confidence lies in (low, high].

    Parameters
    ----------
    low, high
        Bounds of the confidence.
    tiles
        Number of tiles, at least one.
    confidence
        Mean confidence of the tiles.
    accuracy
        Share of the tiles that is classified correctly.
    """

    low: float
    high: float
    tiles: int
    confidence: float
    accuracy: Interval


@dataclass(frozen=True)
class Calibration:
    """The difference between confidence and accuracy.

    Parameters
    ----------
    error
        Expected calibration error, in [0, 1].
    bins
        Bins of the reliability diagram that have tiles, by confidence.
    """

    error: Interval
    bins: tuple[Bin, ...]


def calibration(
    confidences: NDArray[np.float64],
    correct: NDArray[np.bool_],
    groups: Groups,
    bins: int = BINS,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Calibration:
    """Compute the expected calibration error and the reliability diagram, over bins of equal width.

    Parameters
    ----------
    confidences
        (n,) probability of the predicted label, in [0, 1].
    correct
        (n,) True where the predicted label is right.
    groups
        Groups of these tiles.
    bins
        Number of bins.
    replicates, seed
        Number of draws, at least 100, and seed of the bootstrap over groups that gives the interval of the error.

    Raises
    ------
    ValueError
        If a confidence lies outside [0, 1] or is not a number, if there is no bin, or if there are too few replicates.

    Notes
    -----
    The error is a sum of absolute values, so noise makes it larger, and a replicate has more noise than the sample. A
    percentile interval contains that bias twice. The interval is therefore the basic one: percentiles reflected at the
    value (Davison and Hinkley, 1997, section 5.2), cut at 0, at 1 and at the value. Where all tiles are right, a
    bootstrap shows no uncertainty. So the interval also contains the errors that follow if accuracy lies anywhere in
    its own interval.

    In simulations with 300 tiles, the interval covers true errors of 0.05 and 0.2 in 95 of 100 cases. It misses a
    perfect calibration in half of the cases, because few tiles overestimate the error.

    References
    ----------
    C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, On Calibration of Modern Neural Networks, 2017, arXiv:1706.04599.

    A. C. Davison and D. V. Hinkley, 1997, sections 5.2 and 5.2.3.
    """
    if bins < 1:
        raise ValueError(f"bins = {bins}: expected at least 1")
    if replicates < 100:
        raise ValueError(f"replicates = {replicates}: expected at least 100, the bounds are quantiles of them")
    if not ((confidences >= 0) & (confidences <= 1)).all():
        raise ValueError("confidences: expected numbers in [0, 1]; leave out tiles whose logits are not finite")
    edges = np.linspace(0, 1, bins + 1)
    at = np.digitize(confidences, edges[1:-1], right=True)
    counts, hits, confidence = (groups.tally(at, bins, values) for values in (None, correct, confidences))
    nonempty = np.flatnonzero(counts.sum(0))
    tiles = counts.sum(1, keepdims=True)
    accuracy, *accuracies = ratios(
        np.hstack([hits.sum(1, keepdims=True), hits[:, nonempty]]), np.hstack([tiles, counts[:, nonempty]])
    )
    means = divide(confidence.sum(0), counts.sum(0))
    return Calibration(
        _error(confidence, confidence - hits, tiles, accuracy, _draws(groups.count, replicates, seed)),
        tuple(
            Bin(float(edges[k]), float(edges[k + 1]), int(counts[:, k].sum()), float(means[k]), accuracy)
            for k, accuracy in zip(nonempty, accuracies, strict=True)
        ),
    )


@lru_cache(maxsize=2)
def _draws(groups: int, replicates: int, seed: int) -> NDArray[np.float64]:
    """Draw the groups of each replicate: as many groups as there are, with replacement.

    The result, (replicates, groups), counts how often each replicate contains each group.
    """
    weights = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), replicates)
    draws = weights.astype(np.float64)
    draws.flags.writeable = False  # the cache gives all callers this array
    return draws


def _error(
    confidence: NDArray[np.float64],
    gaps: NDArray[np.float64],
    tiles: NDArray[np.float64],
    accuracy: Interval,
    draws: NDArray[np.float64],
) -> Interval:
    """Estimate the expected calibration error with its interval.

    Parameters
    ----------
    confidence, gaps
        (groups, bins) sums of confidences, and these sums minus the number of correct tiles.
    tiles
        (groups, 1) number of tiles.
    accuracy
        Accuracy over all tiles.
    draws
        (replicates, groups) number of times that each replicate contains each group.
    """
    value = float(divide(np.abs(gaps.sum(0)).sum(keepdims=True), tiles.sum(0))[0])
    if np.count_nonzero(tiles) < 2:
        return Interval(value, np.nan, np.nan)
    replicated = divide(np.abs(draws @ gaps).sum(1), (draws @ tiles)[:, 0])
    low, high = 2 * value - np.nanquantile(replicated, [1 - TAIL, TAIL])
    certain = float(confidence.sum() / tiles.sum())
    gap, widest = abs(accuracy.value - certain), max(accuracy.high - certain, certain - accuracy.low)
    least = max(accuracy.low - certain, certain - accuracy.high, 0.0)
    return Interval(
        value, float(np.clip(low, 0, max(value - (gap - least), 0))), float(np.clip(high, max(value, widest), 1))
    )
