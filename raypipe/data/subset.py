"""A part of a set of tiles, where all of them would take too long: whole groups, and as many of each class."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from raypipe.data.sources import seeded_order


def choose_subset(labels: Sequence[int], groups: Sequence[str], count: int, seed: int) -> list[int]:
    """Choose about `count` tiles.

    Groups are taken up in a seeded order, each time one of the label that has the fewest tiles so far, until there are
    `count` tiles; the last group is cut. A larger count takes the same tiles and more.

    Parameters
    ----------
    labels, groups
        Of each tile. A group that spans labels counts for its first tile's.
    count
        How many to choose.
    seed
        Of the order.

    Returns
    -------
    list of int
        Sorted positions; all of them if there are no more than `count`.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for position, group in enumerate(groups):
        members[group].append(position)
    waiting: dict[int, list[str]] = defaultdict(list)
    for group in seeded_order(members, seed):
        waiting[labels[members[group][0]]].append(group)
    taken: list[int] = []
    counts = Counter(dict.fromkeys(waiting, 0))
    while len(taken) < count and waiting:
        label = min(waiting, key=lambda label: (counts[label], label))
        group = waiting[label].pop(0)
        taken += members[group]
        counts[label] += len(members[group])
        if not waiting[label]:
            del waiting[label]
    return sorted(taken[:count])
