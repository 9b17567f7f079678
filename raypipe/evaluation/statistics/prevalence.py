"""Figures of class-balanced tiles, reweighted to the class shares of the test set that the tiles come from."""

import numpy as np
from numpy.typing import NDArray

from raypipe.evaluation.statistics.intervals import UNDEFINED, Groups, Interval, mean, ratios


def reweighted_accuracy(
    correct: NDArray[np.bool_], labels: NDArray[np.int64], all_labels: NDArray[np.int64], groups: Groups
) -> Interval:
    """Return the accuracy that the test set would have if each class kept its recall: the recalls' weighted mean.

    Parameters
    ----------
    correct, labels
        (n,) True where the model classifies the attacked tile correctly, and true classes of the attacked tiles.
    all_labels
        (m,) true classes of the whole test set.
    groups
        Groups of the attacked tiles.

    Returns
    -------
    Interval
        Reweighted accuracy. It is undefined where a class of the test set has no attacked tile, because the recall of
        that class is unknown. The bounds combine those of the recalls as independent shares. A class with a single
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
        return UNDEFINED
    if np.allclose(shares, attacked_shares):
        return mean(correct, groups)
    counts = groups.tally(labels, classes)
    of_classes = ratios(groups.tally(labels, classes, correct), counts)
    recall, low, high = np.array([each for each, share in zip(of_classes, shares, strict=True) if share > 0]).T
    weights = shares[shares > 0]
    value = float(weights @ recall)
    if groups.count < 2:
        return Interval(value, np.nan, np.nan)
    below = np.linalg.norm(weights * (recall - np.nan_to_num(low, nan=0.0)))
    above = np.linalg.norm(weights * (np.nan_to_num(high, nan=1.0) - recall))
    return Interval(value, max(0.0, value - float(below)), min(1.0, value + float(above)))
