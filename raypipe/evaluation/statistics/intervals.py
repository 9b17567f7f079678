"""95 % intervals over groups of tiles: the range of a figure on other source tiles or patients."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import starmap
from math import isnan, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from raypipe.evaluation.statistics.shares import TAIL, share_bounds

METHOD = (
    "95 % intervals: Wilson score intervals on the effective number of tiles, which accounts for similar tiles in a "
    "group. They are never narrower than exact intervals over tiles and never wider than exact intervals over groups, "
    "where groups of different sizes count as fewer groups."
)
"""Sentence below every table and figure that shows an interval of a share."""
DIFFERENCE_METHOD = "Intervals of differences combine those of the shares (Newcombe's hybrid score)."
P_VALUE_METHOD = (
    "p values come from an exact sign-flip permutation test over groups. Holm's method adjusts them for all tested "
    "differences, including those that are not shown here."
)
"""Sentences below every table that shows an interval or a test of a difference, after `METHOD`."""
ALIKE = 1e-9
"""Relative tolerance. Groups whose means differ by less do not differ, so their figures show no spread."""


class Interval(NamedTuple):
    """A figure with the bounds of its 95 % interval.

    Parameters
    ----------
    value
        Figure on the tiles as they are; NaN where it is undefined, such as the recall of a label without tiles.
    low, high
        Bounds; both NaN where the figure has fewer than two groups, which say nothing about the spread.
    """

    value: float
    low: float
    high: float

    def columns(self, name: str) -> dict[str, float | None]:
        """Return the columns `name`, `name_low` and `name_high` of a table, with None for undefined values."""
        keys = (name, f"{name}_low", f"{name}_high")
        return {key: None if isnan(figure) else figure for key, figure in zip(keys, self, strict=True)}


UNDEFINED = Interval(np.nan, np.nan, np.nan)


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of a set of tiles: siblings of one source tile or one patient.

    Parameters
    ----------
    codes
        (n,) number of each tile's group, in [0, count).
    count
        Number of groups.
    """

    codes: NDArray[np.intp]
    count: int

    def tally(
        self, categories: NDArray[np.integer], count: int, values: NDArray[Any] | None = None
    ) -> NDArray[np.float64]:
        """Count the tiles of each category in each group, or sum their values.

        Parameters
        ----------
        categories
            (..., n) category of each tile, in [0, count).
        count
            Number of categories.
        values
            (..., n) values to sum; None to count tiles.

        Returns
        -------
        ndarray
            (..., groups, count) counts or sums.
        """
        shape = categories.shape[:-1]
        rows = np.arange(prod(shape)).reshape(*shape, 1)
        places = (rows * self.count + self.codes) * count + categories
        weights = None if values is None else values.ravel()
        sums = np.bincount(places.ravel(), weights, minlength=prod(shape) * self.count * count)
        return sums.reshape(*shape, self.count, count).astype(np.float64)

    def total(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the sums (..., groups, 1) of the values of tiles, (..., n), in each group."""
        return self.tally(np.zeros(values.shape, dtype=np.intp), 1, values)


def group_tiles(group_ids: Iterable[object]) -> Groups:
    """Return the number of the group of each tile.

    Parameters
    ----------
    group_ids
        One group id per tile. Where siblings are unknown, use the tiles' own ids: intervals then count tiles as
        independent.

    Raises
    ------
    ValueError
        If there are no tiles, or if a tile has no group.
    """
    groups = list(group_ids)
    if not groups:
        raise ValueError("no tiles: expected at least one group id")
    if unknown := sum(group is None for group in groups):
        raise ValueError(f"{unknown} of {len(groups)} tiles have no group: give them one, or their own ids as groups")
    names, codes = np.unique(np.array([str(group) for group in groups]), return_inverse=True)
    return Groups(codes, len(names))


def estimate_mean(values: NDArray[Any], groups: Groups, least: float = -np.inf, most: float = np.inf) -> Interval:
    """Return the mean of a figure over tiles, with its interval.

    Parameters
    ----------
    values
        (n,) values. The mean of booleans is a share: see `raypipe.evaluation.statistics.shares`.
    groups
        Groups of the same tiles, in the same order.
    least, most
        Bounds of the figure, such as 0 and 1 for a confidence. The interval is cut there.

    Notes
    -----
    The mean of values that are not booleans has a Student t interval over groups, with the variance of a ratio
    (Cochran, section 9A.2). There is no interval where all groups have the same mean: they show no spread, so no bounds
    follow.

    References
    ----------
    W. G. Cochran, Sampling Techniques, 1977.
    """
    if values.dtype == np.bool_:
        return estimate_ratio(values, np.ones(len(values), dtype=np.bool_), groups)
    return estimate_means(values[None], np.ones((1, len(values)), dtype=np.bool_), groups, least, most)[0]


def estimate_means(
    values: NDArray[np.float64], counted: NDArray[np.bool_], groups: Groups, least: float, most: float
) -> tuple[Interval, ...]:
    """Return the means of k figures over some of the same tiles, with their intervals; see `estimate_mean`.

    Parameters
    ----------
    values, counted
        (k, n) values, and True for the tiles that count. The values of others are finite.
    groups, least, most
        Arguments as in `estimate_mean`.
    """
    sums, tiles = groups.total(np.where(counted, values, 0.0))[..., 0], groups.total(counted)[..., 0]
    count, total = np.count_nonzero(tiles, axis=1), tiles.sum(axis=1)
    value = divide(sums.sum(axis=1), total)
    residuals = sums - value[:, None] * tiles
    alike = (np.abs(residuals) <= ALIKE * np.abs(value)[:, None] * tiles).all(axis=1)
    spread = (count > 1) & ~alike
    reach = np.full(len(value), np.nan)
    degrees = count[spread] - 1
    errors = np.sqrt(np.square(residuals[spread]).sum(axis=1) * count[spread] / degrees) / total[spread]
    reach[spread] = stdtrit(degrees, 1 - TAIL) * errors
    bounds = np.maximum(value - reach, least), np.minimum(value + reach, most)
    return tuple(starmap(Interval, np.transpose([value, *bounds]).tolist()))


def estimate_ratio(hits: NDArray[np.bool_], counted: NDArray[np.bool_], groups: Groups) -> Interval:
    """Return a share among some of the tiles, such as cancers called benign among cancers, with its interval.

    Parameters
    ----------
    hits, counted
        (n,) masks. The share is that of tiles in both masks among the tiles in `counted`.
    groups
        Groups of the same tiles, in the same order.
    """
    return estimate_ratios(groups.total(hits & counted), groups.total(counted))[0]


def estimate_ratios(hits: NDArray[np.float64], tiles: NDArray[np.float64]) -> tuple[Interval, ...]:
    """Return shares from counts by group, with their intervals.

    Parameters
    ----------
    hits
        (groups, k) number of tiles in the numerator of each share.
    tiles
        (groups, k) or (groups, 1) number of tiles in its denominator.
    """
    return tuple(starmap(Interval, share_intervals(hits, tiles).tolist()))


def share_intervals(hits: NDArray[np.float64], tiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return shares with their bounds, (k, 3), from counts by group; see `estimate_ratios`."""
    return np.transpose([divide(hits.sum(0), tiles.sum(0)), *share_bounds(hits, tiles)])


def divide(numerators: NDArray[np.float64], denominators: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide arrays that broadcast; the quotient is NaN, without a warning, where the denominator is zero."""
    quotients = np.full(np.broadcast_shapes(numerators.shape, denominators.shape), np.nan)
    np.divide(numerators, denominators, out=quotients, where=denominators != 0)
    return quotients
