"""Groups from pairs of siblings, built so that one false pair does not merge two of them."""

from collections import Counter

import numpy as np
import numpy.typing as npt

SMALL = 3
"""Size in tiles from which two groups are joined only by several pairs."""

Group = npt.NDArray[np.intp]


def join_pairs(pairs: npt.NDArray[np.intp], count: int) -> Group:
    """Join tiles into groups along pairs of siblings.

    Two groups of three or more tiles each are joined only by two or more pairs. A single pair may be false, and would
    merge the tiles of two sources.

    Parameters
    ----------
    pairs
        Positions of siblings, shape (m, 2), most certain first.
    count
        Number of tiles.

    Returns
    -------
    ndarray of int, shape (count,)
        Group of each tile, as the position of its first member. A tile without a pair is a group of its own.
    """
    group = np.arange(count)
    members: dict[int, list[int]] = {tile: [tile] for tile in range(count)}
    open_pairs = [(int(left), int(right)) for left, right in pairs]
    merged = True
    while merged:
        merged = False
        between = Counter(_find_ends(group, left, right) for left, right in open_pairs)
        for left, right in open_pairs:
            first, second = _find_ends(group, left, right)
            if first == second:
                continue
            if min(len(members[first]), len(members[second])) < SMALL or between[first, second] > 1:
                group[members[second]] = first
                members[first] += members.pop(second)
                merged = True
        open_pairs = [(left, right) for left, right in open_pairs if group[left] != group[right]]
    return group


def _find_ends(group: Group, left: int, right: int) -> tuple[int, int]:
    ends = int(group[left]), int(group[right])
    return min(ends), max(ends)
