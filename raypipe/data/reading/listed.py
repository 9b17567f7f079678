"""A source made of a tree of files and the known facts of each: the base of all data sets except the synthetic one."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import NamedTuple

from raypipe.data.reading.annotations import clean_value, match_annotations, name_few, read_annotations
from raypipe.data.reading.tree import Tree, is_outside
from raypipe.data.source import Split, TileRef, compute_fingerprint, shuffle_by_hash


@dataclass(frozen=True)
class ListedSource:
    """Tiles in a tree of files.

    Parameters
    ----------
    tree
        Tree of the files.
    labels
        Names of the classes.
    list_refs
        Function that lists every file of the tree with its known facts. It is a module's function with its arguments,
        so that the source can be pickled.
    seed
        Seed that decides which tiles `per_class` keeps.
    groups
        CSV with the columns filename, group and, optionally, label.
    group_pattern
        Regular expression that is searched in the file's name. Its first capture group is the tile's group.
    per_class
        Number of tiles of each class to keep, in whole groups as far as possible. None keeps all.
    malignant
        Members of `labels` that are cancer.
    restriction
        Reason why no picture made from the tiles may be redistributed.
    synthetic
        True if a program drew the tiles.

    Raises
    ------
    ValueError
        If `malignant` names a class that is none of `labels`.
    """

    tree: Tree
    labels: tuple[str, ...]
    list_refs: Callable[[], Iterable[TileRef]]
    seed: int
    groups: str | None = None
    group_pattern: str | None = None
    per_class: int | None = None
    malignant: tuple[str, ...] = ()
    restriction: str | None = None
    synthetic: bool = False

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.malignant) - set(self.labels)):
            raise ValueError(f"malignant: no class {', '.join(unknown)}; there are {', '.join(self.labels)}")

    def list(self) -> Sequence[TileRef]:
        """List every file, sorted by path, without the tiles that `per_class` leaves out.

        Raises
        ------
        ValueError
            If no file is a tile, or the groups fit none of them.
        """
        refs = list(self.list_refs())
        aside = [ref for ref in refs if ref.problem is not None]
        tiles = [ref for ref in refs if ref.problem is None]
        if not tiles:
            reasons = Counter(ref.problem for ref in aside).most_common(1)
            why = f": {reasons[0][1]} are {reasons[0][0]}" if reasons else ""
            raise ValueError(f"{self.tree.location}: none of {len(refs)} files is a tile{why}")
        if self.groups is not None:
            tiles = _group_by_table(tiles, self.groups)
        if self.group_pattern is not None:
            tiles = _group_by_name(tiles, self.group_pattern)
        tiles = [replace(ref, group=clean_value(ref.group)) for ref in tiles]
        if self.per_class is not None:
            tiles = limit_per_class(tiles, self.per_class, self.seed)
        return sorted(tiles + aside, key=lambda ref: ref.path)

    def read(self, path: str) -> bytes:
        """Return the bytes of one file, or raise OSError."""
        return self.tree.read(path)

    def fingerprint(self, refs: Iterable[TileRef], cache: MutableMapping[str, str] | None = None) -> str:
        """Return a hex digest of labels, groups and content. With `cache`, unchanged files are not read again."""
        refs = tuple(refs)
        contents = self.tree.compute_digests([ref.path for ref in refs if ref.problem is None], cache)
        return compute_fingerprint(self.labels, refs, contents)


def list_class_folders(
    tree: Tree, labels: Sequence[str], get_class: Callable[[str], str], only: str | None = None
) -> list[TileRef]:
    """List the files of a tree whose paths contain their class.

    Parameters
    ----------
    tree
        Tree of the files.
    labels
        Names of the classes.
    get_class
        Function that returns the name of the class folder of a path. The name need not be one of `labels`.
    only
        Regular expression that is searched in the path. A file without a match is not part of the data set.
    """
    belongs = re.compile(only or "").search
    return [_read_class_folder(entry.path, labels, get_class) for entry in tree.list_files() if belongs(entry.path)]


def _read_class_folder(path: str, labels: Sequence[str], get_class: Callable[[str], str]) -> TileRef:
    if problem := _explain_unlistable(path):
        return TileRef(path, None, None, problem)
    name = get_class(path)
    if name not in labels:
        return TileRef(path, None, None, f"not in a class folder (expected one of {', '.join(labels)})")
    return TileRef(path, name, None)


class Fact(NamedTuple):
    """Entry of a table for a tile, with a `problem` if the entry cannot be used."""

    label: str | None
    group: str | None = None
    official: Split | None = None
    problem: str | None = None


def list_from_tables(
    tree: Tree, facts: Mapping[str, Fact | None], get_name: Callable[[str], str], tables: Sequence[str]
) -> list[TileRef]:
    """List the files of a tree that tables describe.

    Names in a table are never opened: only files that the tree lists are.

    Parameters
    ----------
    tree
        Tree of the files.
    facts
        Entry by name. None marks a tile that is not part of the data set. A name without a file is not an error,
        because copies of part of a data set are common.
    get_name
        Function that returns the name of a path.
    tables
        Paths of the tables, which are not tiles.

    Raises
    ------
    ValueError
        If several files have a name that the tables describe.
    """
    source = " or ".join(PurePosixPath(table).name for table in tables)
    refs: list[TileRef] = []
    found: dict[str, str] = {}
    for entry in tree.list_files():
        path, name = entry.path, get_name(entry.path)
        if path in tables:
            continue
        if problem := _explain_unlistable(path):
            refs.append(TileRef(path, None, None, problem))
        elif name not in facts:
            refs.append(TileRef(path, None, None, f"not named by {source}"))
        elif fact := facts[name]:
            if name in found:
                raise ValueError(f"{tree.location}: {source} means {found[name]} or {path} by {name!r}; keep one")
            found[name] = path
            aside = fact.problem is not None
            refs.append(
                TileRef(
                    path,
                    None if aside else fact.label,
                    None if aside else fact.group,
                    fact.problem,
                    None if aside else fact.official,
                )
            )
    return refs


def find_file(tree: Tree, *names: str) -> str:
    """Return the path of the only file with the first of `names` that occurs in the tree.

    Raises
    ------
    FileNotFoundError
        If no file has one of the names.
    ValueError
        If several files have that name.
    """
    for name in names:
        found = [
            entry.path
            for entry in tree.list_files()
            if PurePosixPath(entry.path).name == name and _explain_unlistable(entry.path) is None
        ]
        if len(found) > 1:
            raise ValueError(f"{tree.location}: expected one {name}, found {name_few(found)}; point to one data set")
        if found:
            return found[0]
    raise FileNotFoundError(f"{tree.location}: it has no {' or '.join(names)}, which belongs to the data set")


def _explain_unlistable(path: str) -> str | None:
    """Return the reason why a file can never be part of a data set, or None."""
    if is_outside(path):
        return "its name leads out of the data set"
    return "hidden file" if is_hidden(path) else None


def is_hidden(path: str) -> bool:
    """Return True for a file of the operating system: below a dot name, or in the folder __MACOSX of macOS archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(path).parts)


def limit_per_class(refs: Iterable[TileRef], count: int, seed: int) -> list[TileRef]:
    """Keep `count` tiles of each label, or all if there are fewer.

    Whole groups are added in a seeded order until the count is reached. Then the surplus tiles of the last group are
    removed, last path first. A tile without a group is a group of its own. The order of groups is equal for all labels,
    so that a group that spans labels tends to be kept in all of them.
    """
    members: dict[str, dict[str, list[TileRef]]] = defaultdict(lambda: defaultdict(list))
    for ref in sorted(refs, key=lambda ref: ref.path):
        members[str(ref.label_name)][ref.path if ref.group is None else ref.group].append(ref)
    kept = []
    for groups in members.values():
        ordered = [ref for group in shuffle_by_hash(groups, seed) for ref in groups[group]]
        kept += ordered[:count]
    return sorted(kept, key=lambda ref: ref.path)


def _group_by_table(tiles: Sequence[TileRef], location: str) -> list[TileRef]:
    # Names without a file are not an error: published groups cover the whole data set, and a copy of part of it is
    # common.
    groups, _ = match_annotations(read_annotations(location, "group"), tiles, location)
    if not groups:
        raise ValueError(
            f"{location}: names none of the {len(tiles)} tiles, such as {tiles[0].path}; expected base names or paths "
            "below the source's root"
        )
    return [replace(ref, group=groups.get(ref.path)) for ref in tiles]


def _group_by_name(tiles: Sequence[TileRef], pattern: str) -> list[TileRef]:
    compiled = re.compile(pattern)
    found = [compiled.search(PurePosixPath(ref.path).name) for ref in tiles]
    if not any(found):
        raise ValueError(
            f"group_pattern = {pattern!r}: fits none of the {len(tiles)} file names, such as {tiles[0].path}"
        )
    return [replace(ref, group=(match[1] or None) if match else None) for ref, match in zip(tiles, found, strict=True)]
