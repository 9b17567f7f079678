"""Splits of tiles into a training set and a test set."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from raypipe.data.reading.annotations import match_annotations, name_few, read_annotations
from raypipe.data.source import Split, TileRef, shuffle_by_hash

SplitKind = Literal["group", "paper", "official"]
SPLITS: tuple[Split, Split] = ("train", "test")


def assign_splits(refs: Iterable[TileRef], kind: SplitKind, train_fraction: float, seed: int) -> dict[str, Split]:
    """Assign every tile to one side. The result does not depend on the order of the tiles.

    "paper" is the random split of Nisa et al. (IPTEK 2024): `round(n * train_fraction)` tiles train, whatever their
    label or group. Siblings land on both sides, so it measures memory as much as generalization.

    "group" keeps every group on one side. For each label it comes within one group's size of `train_fraction`, or as
    close as the groups allow if they span labels.

    "official" is the split that was published with the data set. It ignores `train_fraction` and `seed`. Its publishers
    are responsible for keeping groups apart: this function does not check it.

    Parameters
    ----------
    refs
        Tiles. Those with a problem are left out.
    kind
        "paper", "group" or "official".
    train_fraction
        Share of the tiles that train, between 0 and 1.
    seed
        Seed of the random order. Another seed gives another split.

    Returns
    -------
    dict
        "train" or "test", by path.

    Raises
    ------
    ValueError
        If the fraction is not between 0 and 1, or a side is empty. For "group": if a tile has no group, a label has
        only one group, or groups that span labels leave a label without a group on one side. For "official": if a tile
        has no side.
    """
    if not 0 < train_fraction < 1:
        raise ValueError(f"train_fraction = {train_fraction}: expected a number between 0 and 1, such as 0.7")
    tiles = [ref for ref in refs if ref.problem is None]
    if kind == "official":
        return _find_official_sides(tiles)
    if kind == "paper":
        return _draw_sides(tiles, train_fraction, seed)
    return _group_sides(tiles, train_fraction, seed)


def read_split_file(location: str, refs: Iterable[TileRef]) -> dict[str, Split]:
    """Read a published split from a CSV with the columns filename, split and, if base names repeat, label.

    Parameters
    ----------
    location
        Local path or URI.
    refs
        Tiles. Those with a problem are left out of the result.

    Returns
    -------
    dict
        "train" or "test", by path.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If a split is neither train nor test, the source lacks a named file, the file does not name a tile, or a name
        fits several tiles.
    """
    refs = list(refs)
    values, unknown = match_annotations(read_annotations(location, "split"), refs, location)
    wrong = set(values.values()) - set(SPLITS)
    if wrong:
        raise ValueError(f"{location}: split = {name_few(map(repr, wrong))}: expected train or test")
    if unknown:
        raise ValueError(
            f"{location}: names {len(unknown)} files that are not among the tiles ({name_few(unknown)}); remove these "
            "rows, or complete the data set (per_class leaves tiles out)"
        )
    tiles = [ref.path for ref in refs if ref.problem is None]
    missing = [path for path in tiles if path not in values]
    if missing:
        raise ValueError(f"{location}: does not name {len(missing)} tiles ({name_few(missing)}); add a row for each")
    return {path: "train" if values[path] == "train" else "test" for path in sorted(tiles)}


def _find_official_sides(tiles: Sequence[TileRef]) -> dict[str, Split]:
    sides = {ref.path: ref.official for ref in sorted(tiles, key=lambda ref: ref.path) if ref.official is not None}
    if lost := [ref.path for ref in tiles if ref.official is None]:
        raise ValueError(
            f"split 'official': {len(lost)} of {len(tiles)} tiles are on no side of a published split "
            f"({name_few(lost)}); take split 'group', or give the split as a CSV with tiles.splits"
        )
    if missing := [side for side in SPLITS if side not in sides.values()]:
        raise ValueError(
            f"split 'official': no tile is on the side {' or '.join(missing)}; complete the data set, or take split "
            "'group'"
        )
    return sides


def _draw_sides(tiles: Sequence[TileRef], train_fraction: float, seed: int) -> dict[str, Split]:
    paths = shuffle_by_hash((ref.path for ref in tiles), seed)
    count = round(len(paths) * train_fraction)
    if count in (0, len(paths)):
        raise ValueError(
            f"split of {len(paths)} tiles at train_fraction = {train_fraction}: a side is empty; add tiles"
        )
    return {path: "train" if place < count else "test" for place, path in enumerate(paths)}


def _group_sides(tiles: Sequence[TileRef], train_fraction: float, seed: int) -> dict[str, Split]:
    sizes = _count_labels(tiles)
    sides: dict[str, Split] = {}
    waiting = set(sizes)
    while waiting:
        # The label with the fewest unassigned groups comes first. Where groups span labels, it has the least choice,
        # and none once all its other groups are on one side.
        label = min(waiting, key=lambda label: (len(sizes[label].keys() - sides), label))
        waiting.remove(label)
        _assign_label(sizes[label], train_fraction, seed, sides)
    _give_every_label_both_sides(sizes, sides)
    return {ref.path: sides[str(ref.group)] for ref in sorted(tiles, key=lambda ref: ref.path)}


def _count_labels(tiles: Sequence[TileRef]) -> dict[str, Counter[str]]:
    """Count each label's tiles by group. Raise ValueError if they cannot be split by group."""
    if not tiles:
        raise ValueError("split 'group': there are no tiles")
    lost = [ref.path for ref in tiles if ref.group is None]
    if lost:
        raise ValueError(
            f"split 'group': {len(lost)} of {len(tiles)} tiles have no group ({name_few(lost)}); name it with groups "
            "or group_pattern, or take split 'paper' and its leak"
        )
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for ref in tiles:
        sizes[str(ref.label_name)][str(ref.group)] += 1
    single = [label for label in sizes if len(sizes[label]) == 1]
    if single:
        raise ValueError(
            f"split 'group': one group holds all tiles of {name_few(single)}, and cannot be on both sides; add tiles "
            "of another group, or leave the label out"
        )
    return sizes


def _assign_label(sizes: Mapping[str, int], train_fraction: float, seed: int, sides: dict[str, Split]) -> None:
    """Assign the groups of one label in a seeded order. A group trains if that comes closer to the fraction."""
    target = sum(sizes.values()) * train_fraction
    trained = sum(size for group, size in sizes.items() if sides.get(group) == "train")
    free = [group for group in shuffle_by_hash(sizes, seed) if group not in sides]
    for group in free:
        trains = trained + sizes[group] / 2 <= target
        if group == free[-1]:
            others = {sides[other] for other in sizes if other != group}
            # If all other groups are on one side, the last one goes to the other side.
            trains = "train" not in others if len(others) == 1 else trains
        sides[group] = "train" if trains else "test"
        trained += sizes[group] if trains else 0


def _give_every_label_both_sides(sizes: Mapping[str, Mapping[str, int]], sides: dict[str, Split]) -> None:
    """Move groups of each label whose groups are all on one side, because other labels placed them there.

    A move may take a side from another label, which then moves a group in turn. No group moves twice.
    """

    def lacking() -> list[str]:
        return sorted(label for label in sizes if len({sides[group] for group in sizes[label]}) == 1)

    def harm(group: str) -> int:
        return sum(group in sizes[label] and _is_alone(group, sizes[label], sides) for label in sizes)

    moved: set[str] = set()
    while labels := lacking():
        free = sizes[labels[0]].keys() - moved
        if not free:
            raise ValueError(
                f"split 'group': groups that span labels leave {name_few(labels)} without a group on one side; add "
                "groups to these labels, try another seed, or write the split file by hand"
            )
        group = min(free, key=lambda group: (harm(group), group))
        sides[group] = "test" if sides[group] == "train" else "train"
        moved.add(group)


def _is_alone(group: str, groups: Iterable[str], sides: Mapping[str, Split]) -> bool:
    return all(sides[other] != sides[group] for other in groups if other != group)
