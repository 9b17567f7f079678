"""Differences between models, with intervals and tests that respect groups of siblings."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raypipe.evaluation.statistics.intervals import Groups, Interval, estimate_mean
from raypipe.evaluation.statistics.permutation import run_sign_flip_test
from raypipe.evaluation.statistics.shares import Counts, share_bounds


class PairedComparison(NamedTuple):
    """A comparison of two models on the same tiles.

    Parameters
    ----------
    difference
        Accuracy of the first minus accuracy of the second, in [-1, 1].
    only_first, only_second
        Number of tiles that only this model classifies correctly.
    p_value
        Two-sided p value of the exact sign-flip permutation test over groups: see
        `raypipe.evaluation.statistics.permutation`.
    """

    difference: Interval
    only_first: int
    only_second: int
    p_value: float


class Spread(NamedTuple):
    """The mean and spread of a figure over repetitions with different seeds.

    Parameters
    ----------
    mean
        Mean of the figures.
    deviation
        Sample standard deviation of the figures; NaN for a single one.
    seeds
        Number of figures.
    """

    mean: float
    deviation: float
    seeds: int


def compare(first: NDArray[np.bool_], second: NDArray[np.bool_], groups: Groups) -> PairedComparison:
    """Compare two accuracies on the same tiles: of two models, or of one model with and without perturbations.

    Parameters
    ----------
    first, second
        (n,) True where the model classifies the tile correctly.
    groups
        Groups of the tiles.

    Raises
    ------
    ValueError
        If the two arrays do not have the same number of tiles.

    Notes
    -----
    The difference is that of two shares: the tiles that only the first model classifies correctly, and those that only
    the second does. The interval combines the intervals of the two shares (Newcombe's hybrid score, generalized as
    MOVER by Zou and Donner). The correlation of the shares is estimated over groups. It is not taken as positive, which
    would narrow the interval. If no tile is correct in one model only, the interval lies around 0 and has a width
    above 0.

    References
    ----------
    R. G. Newcombe, Improved confidence intervals for the difference between binomial proportions based on paired data,
    Statistics in Medicine 17(22), 1998.

    G. Y. Zou and A. Donner, Construction of confidence limits about effect measures, Statistics in Medicine 27(10),
    2008.
    """
    if first.shape != second.shape:
        raise ValueError(f"{len(first)} and {len(second)} tiles: expected the same tiles, in the same order")
    only_first, only_second = groups.total(first & ~second), groups.total(second & ~first)
    difference = compare_paired(only_first, only_second, groups.total(np.ones(len(first))))
    p_value = run_sign_flip_test((only_first - only_second)[:, 0].astype(np.intp))
    return PairedComparison(
        Interval(*difference[:, 0].tolist()), int(only_first.sum()), int(only_second.sum()), p_value
    )


def compare_paired(only_first: Counts, only_second: Counts, tiles: Counts) -> NDArray[np.float64]:
    """Return paired differences of accuracy with their bounds, from counts by group.

    Parameters
    ----------
    only_first, only_second
        (groups, k) number of tiles that only this model classifies correctly.
    tiles
        (groups, 1) number of tiles.

    Returns
    -------
    ndarray
        (3, k) differences, lower bounds and upper bounds; see `compare`.
    """
    count = tiles.sum()
    first, second = (counts - tiles * counts.sum(axis=0) / count for counts in (only_first, only_second))
    spread = np.sqrt(np.square(first).sum(axis=0) * np.square(second).sum(axis=0))
    together = (first * second).sum(axis=0)
    correlation = np.divide(together, spread, out=np.zeros_like(spread), where=spread > 0)

    both = np.hstack([only_first, only_second])
    shares = np.array([both.sum(axis=0) / count, *share_bounds(both, tiles)])
    first_share, second_share = np.hsplit(shares, 2)
    return combine_bounds(first_share, second_share, np.clip(correlation, -1, 0))


def compare_unpaired(
    first: NDArray[np.bool_], first_groups: Groups, second: NDArray[np.bool_], second_groups: Groups
) -> Interval:
    """Compare accuracies on two sets of tiles, such as the test tiles of a random and of a group split.

    Parameters
    ----------
    first, second
        (n,) and (m,) True where the tile is classified correctly.
    first_groups, second_groups
        Groups of the two sets. Sets that share groups are treated as if they shared none. This makes the interval too
        wide rather than too narrow.

    Notes
    -----
    The interval is Newcombe's hybrid score interval for independent shares. There is no permutation test: the two sets
    have groups of different sizes, and some groups are in both sets, so groups cannot be exchanged between the sets.

    References
    ----------
    R. G. Newcombe, Interval estimation for the difference between independent proportions, Statistics in Medicine
    17(8), 1998.
    """
    return compare_independent(estimate_mean(first, first_groups), estimate_mean(second, second_groups))


def compare_independent(first: Interval, second: Interval) -> Interval:
    """Return the difference of two shares of independent sets of tiles; see `compare_unpaired`."""
    one, other = np.array(first)[:, None], np.array(second)[:, None]
    return Interval(*combine_bounds(one, other, np.zeros(1))[:, 0].tolist())


def combine_bounds(
    first: NDArray[np.float64], second: NDArray[np.float64], correlation: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return differences of shares, with bounds that combine those of the shares.

    Parameters
    ----------
    first, second
        (3, k) shares, lower bounds and upper bounds.
    correlation
        (k,) correlation of the two shares, in [-1, 0].

    Returns
    -------
    ndarray
        (3, k) differences, lower bounds and upper bounds, in [-1, 1]. Bounds are NaN where those of a share are NaN.
    """

    def reach(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.sqrt(one**2 + other**2 - 2 * correlation * one * other)

    value = first[0] - second[0]
    low = value - reach(first[0] - first[1], second[2] - second[0])
    high = value + reach(first[2] - first[0], second[0] - second[1])
    return np.array([value, np.maximum(low, -1), np.minimum(high, 1)])


def summarize_over_seeds(figures: Sequence[float]) -> Spread:
    """Return the mean and the spread of a figure over repetitions with different seeds.

    Raises
    ------
    ValueError
        If there is no figure.
    """
    if not len(figures):
        raise ValueError("no figures to take the mean of: expected one for each seed")
    return Spread(float(np.mean(figures)), float(np.std(figures, ddof=1)) if len(figures) > 1 else np.nan, len(figures))
