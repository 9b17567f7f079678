"""Calibration: whether tiles classified with a confidence of 90 % are right nine times in ten."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raypipe.evaluation.intervals import Interval, Resampling, bounds, divide, ratios

BINS = 15
"""As Guo et al. (2017) use."""


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
    confidences: NDArray[np.float64], correct: NDArray[np.bool_], resampling: Resampling, bins: int = BINS
) -> Calibration:
    """Expected calibration error and reliability diagram, over bins of equal width.

    Parameters
    ----------
    confidences
        (n,) the probability of the predicted label, in [0, 1].
    correct
        (n,) whether the predicted label is right.
    resampling
        Of these tiles.
    bins
        How many.

    Raises
    ------
    ValueError
        A confidence lies outside [0, 1] or is not a number, or there is no bin.

    Notes
    -----
    The error is a sum of absolute values: noise makes it larger, in a replicate once more than in the sample. A
    percentile interval takes that bias twice. The interval is therefore the basic one, percentiles reflected at the
    value (Davison and Hinkley, 1997, section 5.2), cut at 0, at 1 and at the value. Simulated with 300 tiles, it covers
    a true error of 0.05 in 90 of 100 cases (percentiles: 53) and one of 0.2 in 92 (95). A perfect calibration it still
    misses in a third of the cases: few tiles overstate the error.

    References
    ----------
    C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, On Calibration of Modern Neural Networks, 2017, arXiv:1706.04599.
    """
    if bins < 1:
        raise ValueError(f"bins = {bins}: expected at least 1")
    if not ((confidences >= 0) & (confidences <= 1)).all():
        raise ValueError("confidences: expected numbers in [0, 1]; leave out tiles whose logits are not finite")
    edges = np.linspace(0, 1, bins + 1)
    at = np.digitize(confidences, edges[1:-1], right=True)
    counts, right, confidence = (resampling.tally(at, bins, values) for values in (None, correct, confidences))
    filled = np.flatnonzero(counts.sum(0))
    accuracies = ratios(right[:, filled], counts[:, filled], resampling, shares=True)
    means = divide(confidence.sum(0), counts.sum(0))
    return Calibration(
        _error(confidence - right, counts.sum(1, keepdims=True), resampling),
        tuple(
            Bin(float(edges[k]), float(edges[k + 1]), int(counts[:, k].sum()), float(means[k]), accuracy)
            for k, accuracy in zip(filled, accuracies, strict=True)
        ),
    )


def _error(gaps: NDArray[np.float64], tiles: NDArray[np.float64], resampling: Resampling) -> Interval:
    """From each group's sums of confidence less correctness by bin, (groups, bins), and its tiles, (groups, 1)."""
    value = float(divide(np.abs(gaps.sum(0)).sum(keepdims=True), tiles.sum(0))[0])
    if np.count_nonzero(tiles) < 2:
        return Interval(value, np.nan, np.nan)
    replicated = divide(np.abs(resampling.weights @ gaps).sum(1), (resampling.weights @ tiles)[:, 0])
    low, high = bounds(replicated)
    reflected = 2 * value - np.array([high, low])
    return Interval(value, float(reflected[0].clip(0, value)), float(reflected[1].clip(value, 1)))
