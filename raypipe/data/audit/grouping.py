"""From pairs of siblings to groups, which one false pair must not chain together."""

from collections import Counter

import numpy as np
import numpy.typing as npt

SMALL = 3
"""Tiles from which on a group is joined to another one of that size only by several pairs."""

Group = npt.NDArray[np.intp]


def join_pairs(pairs: npt.NDArray[np.intp], count: int) -> Group:
    """Join tiles to groups along pairs of siblings.

    Two groups of three tiles or more each need two pairs between them: a single one may be false, and would make one
    group of two sources.

    Parameters
    ----------
    pairs
        Positions of siblings, shape (m, 2), surest first.
    count
        How many tiles there are.

    Returns
    -------
    ndarray of int, shape (count,)
        The group of each tile: the position of its first member. A tile in no pair is a group of its own.
    """
    group = np.arange(count)
    members: dict[int, list[int]] = {tile: [tile] for tile in range(count)}
    open_pairs = [(int(left), int(right)) for left, right in pairs]
    merged = True
    while merged:
        merged = False
        between = Counter(_ends(group, left, right) for left, right in open_pairs)
        for left, right in open_pairs:
            first, second = _ends(group, left, right)
            if first == second:
                continue
            if min(len(members[first]), len(members[second])) < SMALL or between[first, second] > 1:
                group[members[second]] = first
                members[first] += members.pop(second)
                merged = True
        open_pairs = [(left, right) for left, right in open_pairs if group[left] != group[right]]
    return group


def _ends(group: Group, left: int, right: int) -> tuple[int, int]:
    ends = int(group[left]), int(group[right])
    return min(ends), max(ends)
