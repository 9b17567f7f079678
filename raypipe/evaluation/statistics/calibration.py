"""Calibration: whether tiles classified with a confidence of 90 % are right nine times in ten."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raypipe.evaluation.statistics.intervals import Groups, Interval, divide, ratios
from raypipe.evaluation.statistics.shares import TAIL

BINS = 15
"""As Guo et al. (2017) use."""
METHOD = "95 % intervals of the calibration error: basic bootstrap over groups, widened by the interval of accuracy."
REPLICATES = 2000
"""50 of them lie beyond either bound; Davison and Hinkley (1997, section 5.2.3) ask for about 1,000."""


class Bin(NamedTuple):
    """The tiles whose confidence lies in (low, high].

    Parameters
    ----------
    low, high
        Bounds of the confidence.
    tiles
        How many, at least one.
    confidence
        Their mean confidence.
    accuracy
        The share of them that is classified right.
    """

    low: float
    high: float
    tiles: int
    confidence: float
    accuracy: Interval


@dataclass(frozen=True)
class Calibration:
    """How far confidence is from accuracy.

    Parameters
    ----------
    error
        Expected calibration error, in [0, 1].
    bins
        The reliability diagram: the bins that have tiles, by confidence.
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
    """Expected calibration error and reliability diagram, over bins of equal width.

    Parameters
    ----------
    confidences
        (n,) the probability of the predicted label, in [0, 1].
    correct
        (n,) whether the predicted label is right.
    groups
        Groups of these tiles.
    bins
        Number of bins.
    replicates, seed
        Draws, at least 100, and seed of the bootstrap over groups that gives the interval of the error.

    Raises
    ------
    ValueError
        A confidence lies outside [0, 1] or is not a number, there is no bin, or there are too few replicates.

    Notes
    -----
    The error is a sum of absolute values: noise makes it larger, in a replicate once more than in the sample. A
    percentile interval takes that bias twice. The interval is therefore the basic one, percentiles reflected at the
    value (Davison and Hinkley, 1997, section 5.2), cut at 0, at 1 and at the value. Where all tiles are right, a
    bootstrap sees no doubt; so the interval also holds the errors that follow if accuracy lies anywhere in its own
    interval. Simulated with 300 tiles, it covers true errors of 0.05 and 0.2 in 95 of 100 cases. A perfect calibration
    it misses in half of the cases: few tiles overstate the error.

    References
    ----------
    C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, On Calibration of Modern Neural Networks, 2017, arXiv:1706.04599.
    """
    if bins < 1:
        raise ValueError(f"bins = {bins}: expected at least 1")
    if replicates < 100:
        raise ValueError(f"replicates = {replicates}: expected at least 100, the bounds are quantiles of them")
    if not ((confidences >= 0) & (confidences <= 1)).all():
        raise ValueError("confidences: expected numbers in [0, 1]; leave out tiles whose logits are not finite")
    edges = np.linspace(0, 1, bins + 1)
    at = np.digitize(confidences, edges[1:-1], right=True)
    counts, right, confidence = (groups.tally(at, bins, values) for values in (None, correct, confidences))
    filled = np.flatnonzero(counts.sum(0))
    tiles = counts.sum(1, keepdims=True)
    accuracy, *accuracies = ratios(
        np.hstack([right.sum(1, keepdims=True), right[:, filled]]), np.hstack([tiles, counts[:, filled]])
    )
    means = divide(confidence.sum(0), counts.sum(0))
    return Calibration(
        _error(confidence, confidence - right, tiles, accuracy, _draws(groups.count, replicates, seed)),
        tuple(
            Bin(float(edges[k]), float(edges[k + 1]), int(counts[:, k].sum()), float(means[k]), accuracy)
            for k, accuracy in zip(filled, accuracies, strict=True)
        ),
    )


@lru_cache(maxsize=2)
def _draws(groups: int, replicates: int, seed: int) -> NDArray[np.float64]:
    """Draw as many groups as there are, with replacement: how often each replicate has each, (replicates, groups)."""
    weights = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), replicates)
    drawn = weights.astype(np.float64)
    drawn.flags.writeable = False  # shared by all that ask for it
    return drawn


def _error(
    confidence: NDArray[np.float64],
    gaps: NDArray[np.float64],
    tiles: NDArray[np.float64],
    accuracy: Interval,
    draws: NDArray[np.float64],
) -> Interval:
    """Estimate the error, with its interval.

    Parameters
    ----------
    confidence, gaps
        (groups, bins) sums of confidences, and these less the tiles that are right.
    tiles
        (groups, 1).
    accuracy
        Over all tiles.
    draws
        (replicates, groups).
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
