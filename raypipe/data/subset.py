"""A part of a set of tiles, where all of them would take too long: spread over groups, and balanced by class."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush

from raypipe.data.source import seeded_order


def choose_subset(labels: Sequence[int], groups: Sequence[str], count: int, seed: int) -> list[int]:
    """Choose `count` tiles, equally many of each class as far as possible, from as many groups as possible.

    Each tile is of the class that has the fewest tiles so far, and of the group of that class that has the fewest: one
    tile of each group comes first, then the second of each. Siblings say little that is new, so tiles of many groups
    give the narrowest intervals. A larger count takes the same tiles and more.

    Parameters
    ----------
    labels, groups
        (n,) class and group of each tile.
    count
        Number of tiles to choose.
    seed
        Decides the order of groups, and of the tiles within each.

    Returns
    -------
    list of int
        Sorted positions; all of them if there are no more than `count`.
    """
    order = _seeded_positions(labels, groups, seed)
    return sorted(position for position, _ in zip(order, range(count), strict=False))


def uncovered_labels(labels: Sequence[int], chosen: Sequence[int], classes: int) -> list[int]:
    """Return the classes, of 0 to `classes` - 1, of which no tile is chosen.

    Parameters
    ----------
    labels
        (n,) class of each tile.
    chosen
        Positions of the chosen tiles.
    classes
        Number of classes.
    """
    covered = {labels[position] for position in chosen}
    return [label for label in range(classes) if label not in covered]


def _seeded_positions(labels: Sequence[int], groups: Sequence[str], seed: int) -> Iterator[int]:
    """All positions, in the order in which they are chosen."""
    members: dict[tuple[int, str], list[int]] = defaultdict(list)
    for name in reversed(seeded_order(map(str, range(len(labels))), seed)):  # reversed: they are taken from the end
        members[labels[int(name)], groups[int(name)]].append(int(name))
    rank = {group: place for place, group in enumerate(seeded_order(groups, seed))}
    by_group: Counter[str] = Counter()
    by_label = Counter(dict.fromkeys(labels, 0))
    waiting: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
    for label, group in members:
        waiting[label].append((0, rank[group], group))
    for queue in waiting.values():
        heapify(queue)
    while waiting:
        label = min(waiting, key=lambda label: (by_label[label], label))
        taken, place, group = heappop(waiting[label])
        if taken < by_group[group]:  # another class took tiles of this group since
            heappush(waiting[label], (by_group[group], place, group))
            continue
        yield members[label, group].pop()
        by_label[label] += 1
        by_group[group] += 1
        if members[label, group]:
            heappush(waiting[label], (by_group[group], place, group))
        if not waiting[label]:
            del waiting[label]
