"""Which tiles train a model and which test it."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from raypipe.data.reading.annotations import examples, match_annotations, read_annotations
from raypipe.data.source import Split, TileRef, seeded_order

SplitKind = Literal["group", "paper", "official"]
SPLITS: tuple[Split, Split] = ("train", "test")


def assign_splits(refs: Iterable[TileRef], kind: SplitKind, train_fraction: float, seed: int) -> dict[str, Split]:
    """Assign every tile to one side. The same tiles in another order give the same sides.

    "paper" is the random split of Nisa et al. (IPTEK 2024): `round(n * train_fraction)` tiles train, whatever their
    label or group. Siblings land on both sides, so it measures memory as much as generalisation.

    "group" keeps every group on one side and comes within one group's size of `train_fraction` for each label
    (as close as the groups allow where they span labels).

    "official" is the split that was published with the data set, whatever `train_fraction` and `seed` say. Whether
    it keeps groups apart is for its publishers to answer.

    Parameters
    ----------
    refs
        The tiles; those with a problem are left out.
    kind
        "paper", "group" or "official".
    train_fraction
        Share of the tiles that train, between 0 and 1.
    seed
        Another seed gives another split.

    Returns
    -------
    dict
        Path to "train" or "test".

    Raises
    ------
    ValueError
        The fraction is not between 0 and 1, a side would be empty, ("group") a tile has no group, a label has only
        one, or groups that span labels leave a label no group on one side, or ("official") a tile has no side.
    """
    if not 0 < train_fraction < 1:
        raise ValueError(f"train_fraction = {train_fraction}: expected a number between 0 and 1, such as 0.7")
    tiles = [ref for ref in refs if ref.problem is None]
    if kind == "official":
        return _official_sides(tiles)
    if kind == "paper":
        return _random_sides(tiles, train_fraction, seed)
    return _group_sides(tiles, train_fraction, seed)


def read_split_file(location: str, refs: Iterable[TileRef]) -> dict[str, Split]:
    """Read a published split: a CSV with the columns filename, split and, where base names repeat, label.

    Parameters
    ----------
    location
        Local path or URI.
    refs
        The tiles; those with a problem are left out of the result.

    Returns
    -------
    dict
        Path to "train" or "test".

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        A split other than train or test, a file that the source does not have, a tile that the file does not name,
        or a name that fits several tiles.
    """
    refs = list(refs)
    values, unknown = match_annotations(read_annotations(location, "split"), refs, location)
    wrong = set(values.values()) - set(SPLITS)
    if wrong:
        raise ValueError(f"{location}: split = {examples(map(repr, wrong))}: expected train or test")
    if unknown:
        raise ValueError(
            f"{location}: names {len(unknown)} files that are not among the tiles ({examples(unknown)}); remove these "
            "rows, or complete the data set (per_class leaves tiles out)"
        )
    tiles = [ref.path for ref in refs if ref.problem is None]
    missing = [path for path in tiles if path not in values]
    if missing:
        raise ValueError(f"{location}: does not name {len(missing)} tiles ({examples(missing)}); add a row for each")
    return {path: "train" if values[path] == "train" else "test" for path in sorted(tiles)}


def _official_sides(tiles: Sequence[TileRef]) -> dict[str, Split]:
    sides = {ref.path: ref.official for ref in sorted(tiles, key=lambda ref: ref.path) if ref.official is not None}
    if lost := [ref.path for ref in tiles if ref.official is None]:
        raise ValueError(
            f"split 'official': {len(lost)} of {len(tiles)} tiles are on no side of a published split "
            f"({examples(lost)}); take split 'group', or give the split as a CSV with tiles.splits"
        )
    if missing := [side for side in SPLITS if side not in sides.values()]:
        raise ValueError(
            f"split 'official': no tile is on the side {' or '.join(missing)}; complete the data set, or take split "
            "'group'"
        )
    return sides


def _random_sides(tiles: Sequence[TileRef], train_fraction: float, seed: int) -> dict[str, Split]:
    paths = seeded_order((ref.path for ref in tiles), seed)
    count = round(len(paths) * train_fraction)
    if count in (0, len(paths)):
        raise ValueError(
            f"split of {len(paths)} tiles at train_fraction = {train_fraction}: a side is empty; add tiles"
        )
    return {path: "train" if place < count else "test" for place, path in enumerate(paths)}


def _group_sides(tiles: Sequence[TileRef], train_fraction: float, seed: int) -> dict[str, Split]:
    sizes = _sizes(tiles)
    sides: dict[str, Split] = {}
    waiting = set(sizes)
    while waiting:
        # The label with the fewest groups left to assign comes first: where groups span labels, it has the least
        # choice, and none at all once its other groups went to one side.
        label = min(waiting, key=lambda label: (len(sizes[label].keys() - sides), label))
        waiting.remove(label)
        _assign_label(sizes[label], train_fraction, seed, sides)
    _give_every_label_both_sides(sizes, sides)
    return {ref.path: sides[str(ref.group)] for ref in sorted(tiles, key=lambda ref: ref.path)}


def _sizes(tiles: Sequence[TileRef]) -> dict[str, Counter[str]]:
    """Count each label's tiles by group, refusing what cannot be split by group."""
    if not tiles:
        raise ValueError("split 'group': there are no tiles")
    lost = [ref.path for ref in tiles if ref.group is None]
    if lost:
        raise ValueError(
            f"split 'group': {len(lost)} of {len(tiles)} tiles have no group ({examples(lost)}); name it with groups "
            "or group_pattern, or take split 'paper' and its leak"
        )
    sizes: dict[str, Counter[str]] = defaultdict(Counter)
    for ref in tiles:
        sizes[str(ref.label_name)][str(ref.group)] += 1
    single = [label for label in sizes if len(sizes[label]) == 1]
    if single:
        raise ValueError(
            f"split 'group': one group holds all tiles of {examples(single)}, and cannot be on both sides; add tiles "
            "of another group, or leave the label out"
        )
    return sizes


def _assign_label(sizes: Mapping[str, int], train_fraction: float, seed: int, sides: dict[str, Split]) -> None:
    """Walk the groups of one label in a seeded order; each trains if that comes closer to the fraction."""
    target = sum(sizes.values()) * train_fraction
    trained = sum(size for group, size in sizes.items() if sides.get(group) == "train")
    free = [group for group in seeded_order(sizes, seed) if group not in sides]
    for group in free:
        trains = trained + sizes[group] / 2 <= target
        if group == free[-1]:
            others = {sides[other] for other in sizes if other != group}
            # Where all others are on one side, the last group goes to the other one.
            trains = "train" not in others if len(others) == 1 else trains
        sides[group] = "train" if trains else "test"
        trained += sizes[group] if trains else 0


def _give_every_label_both_sides(sizes: Mapping[str, Mapping[str, int]], sides: dict[str, Split]) -> None:
    """Move groups where a label has all of its groups, assigned for other labels' sake, on one side.

    A move may take a side from another label, which then moves a group in turn, but not one that was moved before.
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
                f"split 'group': groups that span labels leave {examples(labels)} without a group on one side; add "
                "groups to these labels, try another seed, or write the split file by hand"
            )
        group = min(free, key=lambda group: (harm(group), group))
        sides[group] = "test" if sides[group] == "train" else "train"
        moved.add(group)


def _is_alone(group: str, groups: Iterable[str], sides: Mapping[str, Split]) -> bool:
    return all(sides[other] != sides[group] for other in groups if other != group)
