"""Differences between models, with intervals and tests that respect groups of siblings."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raypipe.evaluation.intervals import Groups, Interval, mean, ratios
from raypipe.evaluation.permutation import sign_flip_test


class PairedComparison(NamedTuple):
    """Two models on the same tiles.

    Parameters
    ----------
    difference
        Accuracy of the first less that of the second, in [-1, 1].
    only_first, only_second
        Tiles that only this one gets right.
    p_value
        Of the exact sign-flip permutation test over groups, two-sided: see `raypipe.evaluation.permutation`.
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


def compare(first: NDArray[np.bool_], second: NDArray[np.bool_], groups: Groups) -> PairedComparison:
    """Compare accuracies of two models on the same tiles, or of one model on tiles and on the same tiles perturbed.

    Parameters
    ----------
    first, second
        (n,) whether each is right, tile by tile.
    groups
        Of the tiles.

    Raises
    ------
    ValueError
        The two are not about the same number of tiles.

    Notes
    -----
    The difference is that of two shares: tiles that only the first gets right, and tiles that only the second does.
    Its interval combines theirs (Newcombe's hybrid score, generalized as MOVER by G. Y. Zou and A. Donner, Statistics
    in Medicine 27(10), 2008). The correlation of the two shares is estimated over groups, and not taken as positive,
    which would narrow the interval. No tile right in one model only gives an interval around 0, not [0, 0].

    References
    ----------
    R. G. Newcombe, Improved confidence intervals for the difference between binomial proportions based on paired data,
    Statistics in Medicine 17(22), 1998.
    """
    if first.shape != second.shape:
        raise ValueError(f"{len(first)} and {len(second)} tiles: expected the same tiles, in the same order")
    tiles = groups.total(np.ones(len(first)))
    counts = np.hstack([groups.total(first & ~second), groups.total(second & ~first)])
    first_share, second_share = ratios(counts, tiles)
    residuals = counts - tiles * counts.sum(axis=0) / tiles.sum()
    spread = float(np.sqrt(np.square(residuals).sum(axis=0)).prod())
    correlation = min(0.0, float(residuals.prod(axis=1).sum()) / spread) if spread else 0.0
    only_first, only_second = counts.sum(axis=0).astype(int).tolist()
    p_value = sign_flip_test((counts[:, 0] - counts[:, 1]).astype(np.intp))
    return PairedComparison(_hybrid(first_share, second_share, correlation), only_first, only_second, p_value)


def unpaired_difference(
    first: NDArray[np.bool_], first_groups: Groups, second: NDArray[np.bool_], second_groups: Groups
) -> Interval:
    """Compare accuracies on two sets of tiles, such as the test tiles of a random and of a group split.

    Parameters
    ----------
    first, second
        (n,) and (m,) whether each tile is right.
    first_groups, second_groups
        Of the two sets. Sets that share some of their groups count as if they shared none, which makes the interval
        too wide rather than too narrow.

    Notes
    -----
    Newcombe's hybrid score interval for independent shares. There is no permutation test: the two sets have groups of
    other sizes, some of them in both sets, so groups cannot be exchanged between them.

    References
    ----------
    R. G. Newcombe, Interval estimation for the difference between independent proportions, Statistics in Medicine
    17(8), 1998.
    """
    return _hybrid(mean(first, first_groups), mean(second, second_groups), 0.0)


def _hybrid(first: Interval, second: Interval, correlation: float) -> Interval:
    """Subtract shares, with an interval from theirs; without bounds where one of them has none."""

    def reach(one: float, other: float) -> float:
        return float(np.sqrt(one**2 + other**2 - 2 * correlation * one * other))

    value = first.value - second.value
    if np.isnan([first.low, second.low]).any():
        return Interval(value, np.nan, np.nan)
    below = reach(first.value - first.low, second.high - second.value)
    above = reach(first.high - first.value, second.value - second.low)
    return Interval(value, max(-1.0, value - below), min(1.0, value + above))


def over_seeds(figures: Sequence[float]) -> Spread:
    """Take the mean and the spread of a figure over repetitions with different seeds.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not len(figures):
        raise ValueError("no figures to take the mean of: expected one for each seed")
    return Spread(float(np.mean(figures)), float(np.std(figures, ddof=1)) if len(figures) > 1 else np.nan, len(figures))
