"""Figures of class-balanced tiles, reweighted to the class shares of the test set that the tiles come from."""

import numpy as np
from numpy.typing import NDArray

from raypipe.evaluation.statistics.intervals import UNDEFINED, Groups, Interval, estimate_ratios, share_intervals


def reweight_accuracy(
    correct: NDArray[np.bool_], labels: NDArray[np.int64], all_labels: NDArray[np.int64], groups: Groups
) -> Interval:
    """Return the reweighted accuracy of one model, from correct answers (n,); see `reweight_accuracies`."""
    return reweight_accuracies(correct[None], labels, all_labels, groups)[0]


def reweight_accuracies(
    correct: NDArray[np.bool_], labels: NDArray[np.int64], all_labels: NDArray[np.int64], groups: Groups
) -> tuple[Interval, ...]:
    """Return the accuracies that the test set would have if each class kept its recall: the recalls' weighted mean.

    Parameters
    ----------
    correct
        (k, n) True where a model classifies the attacked tile correctly.
    labels
        (n,) true classes of the attacked tiles.
    all_labels
        (m,) true classes of the whole test set.
    groups
        Groups of the attacked tiles.

    Returns
    -------
    tuple of Interval
        Reweighted accuracies. They are undefined where a class of the test set has no attacked tile, because the recall
        of that class is unknown. The bounds combine those of the recalls as independent shares. A class with a single
        group may have any recall.

    References
    ----------
    G. Y. Zou and A. Donner, Construction of confidence limits about effect measures, Statistics in Medicine 27(10),
    2008.
    """
    classes = int(max(labels.max(), all_labels.max())) + 1
    shares = np.bincount(all_labels, minlength=classes) / len(all_labels)
    attacked_shares = np.bincount(labels, minlength=classes) / len(labels)
    if ((shares > 0) & (attacked_shares == 0)).any():
        return (UNDEFINED,) * len(correct)
    if np.allclose(shares, attacked_shares):
        return estimate_ratios(groups.total(correct)[..., 0].T, groups.total(np.ones(len(labels))))
    counts = groups.tally(labels, classes)
    hits = groups.tally(np.broadcast_to(labels, correct.shape), classes, correct)
    of_classes = share_intervals(np.hstack(list(hits)), np.tile(counts, len(correct)))
    weights = shares[shares > 0]
    by_model = of_classes.reshape(-1, classes, 3)[:, shares > 0]
    return tuple(_combine(weights, *recalls.T, bounded=groups.count > 1) for recalls in by_model)


def _combine(
    weights: NDArray[np.float64],
    recall: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    *,
    bounded: bool,
) -> Interval:
    """Return the weighted mean of the recalls of the classes, with bounds that combine theirs."""
    value = float(weights @ recall)
    if not bounded:
        return Interval(value, np.nan, np.nan)
    below = np.linalg.norm(weights * (recall - np.nan_to_num(low, nan=0.0)))
    above = np.linalg.norm(weights * (np.nan_to_num(high, nan=1.0) - recall))
    return Interval(value, max(0.0, value - float(below)), min(1.0, value + float(above)))
