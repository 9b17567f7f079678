"""Figures of class-balanced tiles, re-weighted to the class shares of the test set that they were chosen from."""

import numpy as np
from numpy.typing import NDArray

from raypipe.evaluation.intervals import UNDEFINED, Interval, Resampling, mean


def reweighted_accuracy(
    right: NDArray[np.bool_], labels: NDArray[np.int64], all_labels: NDArray[np.int64], resampling: Resampling
) -> Interval:
    """Return the accuracy that the test set would give if each class kept its recall: the recalls' weighted mean.

    Parameters
    ----------
    right, labels
        (n,) which of the attacked tiles the model gets right, and their true classes.
    all_labels
        (m,) true classes of the whole test set.
    resampling
        Of the attacked tiles.

    Returns
    -------
    Interval
        Undefined where a class of the test set has no attacked tile: nothing is known of its share.
    """
    classes = int(max(labels.max(), all_labels.max())) + 1
    there = np.bincount(all_labels, minlength=classes) / len(all_labels)
    attacked = np.bincount(labels, minlength=classes) / len(labels)
    if ((there > 0) & (attacked == 0)).any():
        return UNDEFINED
    if np.allclose(there, attacked):
        return mean(right, resampling)
    return mean(right * (there[labels] / attacked[labels]), resampling)
