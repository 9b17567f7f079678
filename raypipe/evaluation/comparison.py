"""Differences between models, with what chance alone would make of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr  # what scipy.stats would be asked, without half a second of imports

from raypipe.evaluation.intervals import Interval, Resampling, bounds, divide, mean


class PairedComparison(NamedTuple):
    """Two models on the same tiles.

    Parameters
    ----------
    difference
        Accuracy of the first less that of the second, in [-1, 1].
    only_first, only_second
        Tiles that only this one gets right.
    p_value
        Of McNemar's exact test, two-sided, that the two are equally often right where only one is. It counts tiles as
        independent: with siblings among them it is too small, and the interval is what to go by.
    """

    difference: Interval
    only_first: int
    only_second: int
    p_value: float


class Spread(NamedTuple):
    """A figure over repetitions that differ in their seed.

    Parameters
    ----------
    mean
        Of the figures.
    deviation
        Their sample standard deviation; NaN with a single one.
    seeds
        How many figures there were.
    """

    mean: float
    deviation: float
    seeds: int


def compare(first: NDArray[np.bool_], second: NDArray[np.bool_], resampling: Resampling) -> PairedComparison:
    """Accuracies of two models on the same tiles, or of one model on tiles and on the same tiles perturbed.

    Parameters
    ----------
    first, second
        (n,) whether each is right, tile by tile.
    resampling
        Of the tiles: each replicate draws the same groups for both.

    Raises
    ------
    ValueError
        The two are not about the same number of tiles.

    References
    ----------
    Q. McNemar, Psychometrika 12(2), 1947.
    """
    if first.shape != second.shape:
        raise ValueError(f"{len(first)} and {len(second)} tiles: expected the same tiles, in the same order")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    return PairedComparison(
        mean(first.astype(np.float64) - second, resampling),
        only_first,
        only_second,
        min(1.0, 2 * float(bdtr(min(only_first, only_second), discordant, 0.5))),
    )


def unpaired_difference(
    first: NDArray[Any], first_resampling: Resampling, second: NDArray[Any], second_resampling: Resampling
) -> Interval:
    """Difference of the means of a figure on two sets of tiles, such as the test tiles of a random and a group split.

    Parameters
    ----------
    first, second
        (n,) and (m,) the figure per tile.
    first_resampling, second_resampling
        Of the two sets, with as many replicates. Sets that share some of their groups are drawn as if they shared none,
        which makes the interval too wide rather than too narrow; sets of the very same groups are drawn alike.

    Raises
    ------
    ValueError
        The replicates differ in number.
    """
    replicates = len(first_resampling.weights), len(second_resampling.weights)
    if replicates[0] != replicates[1]:
        raise ValueError(
            f"{replicates[0]} and {replicates[1]} replicates: expected equally many for both sets of tiles"
        )
    value = float(first.mean() - second.mean())
    if min(first_resampling.groups, second_resampling.groups) < 2:
        return Interval(value, np.nan, np.nan)
    low, high = bounds(_means(first, first_resampling) - _means(second, second_resampling))
    return Interval(value, float(low), float(high))


def over_seeds(figures: Sequence[float]) -> Spread:
    """Mean and spread of a figure over repetitions with different seeds.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not len(figures):
        raise ValueError("no figures to take the mean of: expected one for each seed")
    return Spread(float(np.mean(figures)), float(np.std(figures, ddof=1)) if len(figures) > 1 else np.nan, len(figures))


def _means(values: NDArray[Any], resampling: Resampling) -> NDArray[np.float64]:
    """The mean in each replicate, (replicates,)."""
    sums = np.hstack([resampling.total(values), resampling.total(np.ones(len(values)))])
    numerators, denominators = (resampling.weights @ sums).T
    return divide(numerators, denominators)
