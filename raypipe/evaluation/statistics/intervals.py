"""95 % intervals over groups of tiles: the range of a figure on other source tiles or patients."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

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
DIFFERENCE_METHOD = (
    "Intervals of differences combine those of the shares (Newcombe's hybrid score). p values come from an exact "
    "sign-flip permutation test over groups. Holm's method adjusts them for all tested differences, including those "
    "that are not shown here."
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
        return {key: None if np.isnan(figure) else figure for key, figure in zip(keys, self, strict=True)}


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

    def select(self, tiles: NDArray[np.bool_]) -> Self:
        """Return the groups of some of the tiles, from a mask (n,). Groups without tiles keep their number."""
        return replace(self, codes=self.codes[tiles])

    def tally(
        self, categories: NDArray[np.integer], count: int, values: NDArray[Any] | None = None
    ) -> NDArray[np.float64]:
        """Count the tiles of each category in each group, or sum their values.

        Parameters
        ----------
        categories
            (n,) category of each tile, in [0, count).
        count
            Number of categories.
        values
            (n,) values to sum; None to count tiles.

        Returns
        -------
        ndarray
            (groups, count) counts or sums.
        """
        cells = np.bincount(self.codes * count + categories, values, minlength=self.count * count)
        return cells.reshape(self.count, count).astype(np.float64)

    def total(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return the sums (groups, 1) of the values of tiles, (n,), in each group."""
        return self.tally(np.zeros(len(self.codes), dtype=np.intp), 1, values)


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


def mean(values: NDArray[Any], groups: Groups, least: float = -np.inf, most: float = np.inf) -> Interval:
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
        return ratio(values, np.ones(len(values), dtype=np.bool_), groups)
    sums, tiles = groups.total(values)[:, 0], groups.total(np.ones(len(values)))[:, 0]
    count = np.count_nonzero(tiles)
    if not count:
        return UNDEFINED
    value = float(sums.sum() / tiles.sum())
    residuals = sums - value * tiles
    if count < 2 or (np.abs(residuals) <= ALIKE * abs(value) * tiles).all():
        return Interval(value, np.nan, np.nan)
    error = np.sqrt(np.square(residuals).sum() * count / (count - 1)) / tiles.sum()
    reach = float(stdtrit(count - 1, 1 - TAIL) * error)
    return Interval(value, max(value - reach, least), min(value + reach, most))


def ratio(hits: NDArray[np.bool_], counted: NDArray[np.bool_], groups: Groups) -> Interval:
    """Return a share among some of the tiles, such as cancers called benign among cancers, with its interval.

    Parameters
    ----------
    hits, counted
        (n,) masks. The share is that of tiles in both masks among the tiles in `counted`.
    groups
        Groups of the same tiles, in the same order.
    """
    return ratios(groups.total(hits & counted), groups.total(counted))[0]


def ratios(hits: NDArray[np.float64], tiles: NDArray[np.float64]) -> tuple[Interval, ...]:
    """Return shares from counts by group, with their intervals.

    Parameters
    ----------
    hits
        (groups, k) number of tiles in the numerator of each share.
    tiles
        (groups, k) or (groups, 1) number of tiles in its denominator.
    """
    values = divide(hits.sum(0), tiles.sum(0))
    bounds = share_bounds(hits, tiles)
    return tuple(Interval(*row) for row in zip(*(array.tolist() for array in (values, *bounds)), strict=True))


def divide(numerators: NDArray[np.float64], denominators: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide arrays that broadcast; the quotient is NaN, without a warning, where the denominator is zero."""
    quotients = np.full(np.broadcast_shapes(numerators.shape, denominators.shape), np.nan)
    np.divide(numerators, denominators, out=quotients, where=denominators != 0)
    return quotients
