"""A subset of tiles for work that would take too long on all of them, spread over groups and balanced by class."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush

from raypipe.base.errors import notify
from raypipe.data.source import Source, TileRef, shuffle_by_hash


def choose_subset(labels: Sequence[int], groups: Sequence[str], count: int, seed: int) -> list[int]:
    """Choose `count` tiles, as equally by class as possible and from as many groups as possible.

    Each choice takes the class with the fewest chosen tiles, and within it the group with the fewest. So one tile of
    each group comes first, then a second one of each. Siblings add little new information, so tiles of many groups give
    the narrowest intervals. A larger count chooses the tiles of a smaller one and more.

    Parameters
    ----------
    labels, groups
        (n,) class and group of each tile.
    count
        Number of tiles to choose.
    seed
        Seed of the order of groups, and of the tiles within each.

    Returns
    -------
    list of int
        Positions, sorted; all positions if there are at most `count`.
    """
    order = _order_positions(labels, groups, seed)
    return sorted(position for position, _ in zip(order, range(count), strict=False))


def choose_files(source: Source, count: int | None, seed: int = 0) -> tuple[TileRef, ...]:
    """Return the files of a data set that can be tiles, or some of them. A published split leaves its test side.

    Parameters
    ----------
    source
        The data set.
    count
        Number of files, spread over as many groups as possible and balanced by class; None means all.
    seed
        Seed of the choice.
    """
    refs = [ref for ref in source.list() if ref.problem is None]
    if (held_out := [ref for ref in refs if ref.official == "test"]) and len(held_out) < len(refs):
        notify(
            f"the data set has a published split: {len(held_out)} test tiles are used, and {len(refs) - len(held_out)} "
            "training tiles are left out"
        )
        refs = held_out
    if count is None:
        return tuple(refs)
    labels = [source.labels.index(str(ref.label_name)) for ref in refs]
    chosen = choose_subset(labels, [ref.group or ref.path for ref in refs], count, seed)
    return tuple(refs[position] for position in chosen)


def find_uncovered_labels(labels: Sequence[int], positions: Sequence[int], classes: int) -> list[int]:
    """Return the classes, from 0 to `classes` - 1, without a chosen tile.

    Parameters
    ----------
    labels
        (n,) class of each tile.
    positions
        Positions of the chosen tiles.
    classes
        Number of classes.
    """
    covered = {labels[position] for position in positions}
    return [label for label in range(classes) if label not in covered]


def _order_positions(labels: Sequence[int], groups: Sequence[str], seed: int) -> Iterator[int]:
    """Yield all positions in the order of choice."""
    members: dict[tuple[int, str], list[int]] = defaultdict(list)
    for name in reversed(
        shuffle_by_hash(map(str, range(len(labels))), seed)
    ):  # reversed: tiles are popped from the end
        members[labels[int(name)], groups[int(name)]].append(int(name))
    rank = {group: place for place, group in enumerate(shuffle_by_hash(groups, seed))}
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
        if taken < by_group[group]:  # another class has taken tiles of this group since then
            heappush(waiting[label], (by_group[group], place, group))
            continue
        yield members[label, group].pop()
        by_label[label] += 1
        by_group[group] += 1
        if members[label, group]:
            heappush(waiting[label], (by_group[group], place, group))
        if not waiting[label]:
            del waiting[label]
