"""95 % bounds of shares of tiles that come in groups.

Siblings resemble each other, and few groups show little about how much they do. A share's interval is that of a
binomial share on the effective number of tiles (Korn and Graubard 1998). That number follows from the intraclass
correlation. The correlation is estimated from the discordant pairs of siblings, one right and one wrong (Fleiss and
Cuzick 1979).

Three rules keep the bounds valid near 0 and 1, where there are hardly any such pairs:

- The estimate starts from a correlation of 1, as if one pair had been seen already and had agreed.
- The lower bound is never above the lower bound of any data with the same groups and further tiles right. So one more
  wrong tile never raises a bound. If no tile is wrong, the groups count as the trials.
- No interval is narrower than that of tiles as independent trials, or wider than that of groups as trials.

References
----------
E. L. Korn and B. I. Graubard, Survey Methodology 24(2), 1998.

J. L. Fleiss and J. Cuzick, Applied Psychological Measurement 3(4), 1979.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtri

CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2
_Z = float(ndtri(1 - TAIL))
PRIOR = 1.0
"""Weight of the pair of siblings from which the estimate of the intraclass correlation starts."""
_CHUNK = 2_000_000
"""Number of tiles of all shares together that are processed at once: about 100 MB."""

Counts = NDArray[np.float64]


def share_bounds(right: Counts, tiles: Counts) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the bounds of the 95 % intervals of many shares.

    Parameters
    ----------
    right
        (groups, k) number of tiles in the numerator of each share, by group: whole numbers.
    tiles
        (groups, k) or (groups, 1) number of tiles in its denominator, by group, at least as many as `right`.

    Returns
    -------
    tuple of ndarray
        (k,) lower and (k,) upper bounds, in [0, 1]. Both are NaN where fewer than two groups have a tile.

    Raises
    ------
    ValueError
        If a group has more right tiles than tiles, or a negative number of right tiles.

    Notes
    -----
    `python -m benchmarks.coverage` simulates the coverage. Both bounds fall or stay where a tile becomes wrong.
    Exchanging right and wrong mirrors the bounds, and the order of groups does not matter.
    """
    rows, totals = right.T, np.broadcast_to(tiles.T, right.T.shape)
    if not ((rows >= 0) & (rows <= totals)).all():
        raise ValueError("right: expected between 0 and as many tiles as the group has, got others")
    low, high = np.full((2, len(rows)), np.nan)
    known = np.flatnonzero(np.count_nonzero(totals, axis=1) >= 2)
    for part in _split_into_chunks(known, totals.sum(axis=1)):
        wrong = totals[part] - rows[part]
        low[part], high[part] = np.split(_bound_below(np.vstack([rows[part], wrong]), np.vstack([totals[part]] * 2)), 2)
    return low, 1 - high


def _split_into_chunks(shares: NDArray[np.intp], sizes: NDArray[np.float64]) -> Iterator[NDArray[np.intp]]:
    """Split shares, the largest first, so that no part times its largest share has many more tiles than `_CHUNK`."""
    ordered = shares[np.argsort(-sizes[shares], kind="stable")]
    start = 0
    while start < len(ordered):
        count = max(1, int(_CHUNK // sizes[ordered[start]]))
        yield ordered[start : start + count]
        start += count


def _bound_below(right: Counts, tiles: Counts) -> NDArray[np.float64]:
    """Return lower bounds (k,) from counts (k, groups). Each row must have at least two groups with tiles."""
    total, hits = tiles.sum(axis=1), right.sum(axis=1)
    per_group = np.square(tiles).sum(axis=1) / total  # a tile's siblings and itself, averaged over tiles
    groups = total / per_group  # effective number of groups; their number if all have the same size
    unanimous = TAIL ** (1 / groups)
    wider = np.maximum(
        compute_exact_lower_bound(hits / per_group, groups), _find_lowest(right, tiles, total, hits, per_group)
    )
    lower: NDArray[np.float64] = np.minimum(np.minimum(compute_exact_lower_bound(hits, total), unanimous), wider)
    return lower


def _find_lowest(
    right: Counts, tiles: Counts, total: Counts, hits: Counts, per_group: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return each share's smallest lower bound over its data and all data with further tiles right in the same groups.

    For each number of further right tiles, only the data with the fewest discordant pairs of siblings count. In these
    data the groups with the largest share of right tiles are completed first. Groups that are completed in part count
    in proportion. This bounds the effect of whole tiles, so the law holds for groups of any sizes.
    """
    shares = np.divide(right, tiles, out=np.zeros_like(right), where=tiles > 0)
    # The first entry of each share stands for its data as they are. The groups follow in the order in which they are
    # completed, with one entry per wrong tile: the discordance that ends when the tile is corrected.
    order, first = np.argsort(-shares, axis=1, kind="stable"), np.ones((len(shares), 1))
    at = np.arange(len(shares))[:, None], order
    ended = np.hstack([0 * first, shares[at]])
    steps = np.hstack([first, (tiles - right)[at]]).astype(np.intp)
    lengths = steps.sum(axis=1)
    starts = np.cumsum(lengths) - lengths
    which = np.repeat(np.arange(len(lengths)), lengths)
    # One row for each share, so that the sums of a share do not depend on the others.
    taken = np.arange(lengths.max()) < lengths[:, None]
    sums = np.zeros(taken.shape)
    sums[taken] = np.repeat(ended.ravel(), steps.ravel())
    so_far = sums.cumsum(axis=1)[taken]
    discordance = np.maximum((shares * (tiles - right)).sum(axis=1)[which] - so_far, 0)
    share = (hits[which] + np.arange(len(which)) - starts[which]) / total[which]
    size = per_group[which]
    pairs = (total - np.count_nonzero(tiles, axis=1))[which]
    expected = pairs * share * (1 - share) + PRIOR * (size - 1) / size
    agreement = np.divide(discordance, expected, out=np.zeros_like(share), where=expected > 0)
    design_effect = 1 + (size - 1) * np.clip(1 - agreement, 0, 1)
    return np.minimum.reduceat(_bound_by_wilson(share, total[which] / design_effect), starts)


def _bound_by_wilson(share: NDArray[np.float64], trials: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Wilson's lower bound with continuity correction (R. G. Newcombe, Statistics in Medicine 17, 1998)."""
    corrected = np.maximum(share - 0.5 / trials, 0)
    noise = _Z**2 / trials
    root = np.sqrt(noise * (noise + 4 * corrected * (1 - corrected)))
    bound: NDArray[np.float64] = (2 * corrected + noise - root) / (2 * (1 + noise))
    return bound


def compute_exact_lower_bound(hits: NDArray[np.float64], trials: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the exact 95 % lower bound of shares, also for fractions of hits and trials.

    Parameters
    ----------
    hits, trials
        (k,) number of successes and trials, at least 0. Fractions are allowed.

    References
    ----------
    C. J. Clopper and E. S. Pearson, Biometrika 26, 1934.
    """
    # Many shares have the same numbers. A complex number is a pair that NumPy can sort.
    pairs, places = np.unique(hits + 1j * trials, return_inverse=True)
    bounds = np.zeros(len(pairs))
    some = pairs.real > 0
    bounds[some] = betaincinv(pairs.real[some], pairs.imag[some] - pairs.real[some] + 1, TAIL)
    return bounds[places]
