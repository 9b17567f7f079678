"""A source that is a tree of files with a folder for each class: what LC25000 and plain folders have in common."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from raypipe.data.annotations import match_annotations, read_annotations
from raypipe.data.sources import TileRef, fingerprint_of, seeded_order
from raypipe.data.tree import Tree, is_outside


@dataclass(frozen=True)
class ListedSource:
    """Tiles in the class folders of a tree.

    Attributes
    ----------
    tree
        The files.
    labels
        The class folders' names.
    class_of
        Gives the name of the class folder that a path is in, whether or not it is one of `labels`. A function of
        a module, so that the source can be pickled.
    groups
        CSV with the columns filename, group and, optionally, label.
    group_pattern
        Regular expression searched in the file's name, whose first capture group is the tile's group.
    per_class
        Keep this many tiles of each class, whole groups as far as possible.
    seed
        Decides which tiles `per_class` keeps.
    malignant
        Those of `labels` that are cancer.
    """

    tree: Tree
    labels: tuple[str, ...]
    class_of: Callable[[str], str]
    groups: str | None
    group_pattern: str | None
    per_class: int | None
    seed: int
    malignant: tuple[str, ...] = ()
    synthetic: bool = False

    @property
    def grouped(self) -> bool:
        """Whether the source was told which tiles are siblings."""
        return self.groups is not None or self.group_pattern is not None

    def list(self) -> Sequence[TileRef]:
        """List every file, sorted by path, less the tiles that `per_class` leaves out.

        Raises
        ------
        ValueError
            No file is in a class folder, or the groups fit none of them.
        """
        refs = [self._ref(entry.path) for entry in self.tree.files()]
        aside = [ref for ref in refs if ref.problem is not None]
        tiles = [ref for ref in refs if ref.problem is None]
        if not tiles:
            raise ValueError(f"{self.tree.location}: none of {len(refs)} files is in {_class_folders(self.labels)}")
        if self.groups is not None:
            tiles = _grouped_by_table(tiles, self.groups)
        if self.group_pattern is not None:
            tiles = _grouped_by_name(tiles, self.group_pattern)
        if self.per_class is not None:
            tiles = limit_per_class(tiles, self.per_class, self.seed)
        return sorted(tiles + aside, key=lambda ref: ref.path)

    def read(self, path: str) -> bytes:
        """Return the bytes of one file, or raise OSError."""
        return self.tree.read(path)

    def fingerprint(self, refs: Iterable[TileRef], cache: MutableMapping[str, str] | None = None) -> str:
        """Return a hex digest of labels, groups and content; `cache` spares reading unchanged files again."""
        refs = tuple(refs)
        contents = self.tree.digests([ref.path for ref in refs if ref.problem is None], cache)
        return fingerprint_of(self.labels, refs, contents)

    def _ref(self, path: str) -> TileRef:
        if is_outside(path):
            return TileRef(path, None, None, "its name leads out of the data set")
        if is_hidden(path):
            return TileRef(path, None, None, "hidden file")
        name = self.class_of(path)
        if name not in self.labels:
            return TileRef(path, None, None, f"not in {_class_folders(self.labels)}")
        return TileRef(path, name, None)


def is_hidden(path: str) -> bool:
    """Whether a file is the system's own: below a dot name, or in the __MACOSX folder that macOS adds to archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(path).parts)


def limit_per_class(refs: Iterable[TileRef], count: int, seed: int) -> list[TileRef]:
    """Keep `count` tiles of each label, or all where there are fewer.

    Whole groups are added in a seeded order until the count is reached; then the last group gives up the tiles
    that are too many, last path first. A tile without a group is a group of its own. The order is the same for
    every label, so that a group that spans labels tends to be kept in all of them.
    """
    members: dict[str, dict[str, list[TileRef]]] = defaultdict(lambda: defaultdict(list))
    for ref in sorted(refs, key=lambda ref: ref.path):
        members[str(ref.label_name)][ref.path if ref.group is None else ref.group].append(ref)
    kept = []
    for groups in members.values():
        ordered = [ref for group in seeded_order(groups, seed) for ref in groups[group]]
        kept += ordered[:count]
    return sorted(kept, key=lambda ref: ref.path)


def _grouped_by_table(tiles: Sequence[TileRef], location: str) -> list[TileRef]:
    # Names of files that are not there are no mistake: published groups cover the whole data set, and a copy of
    # part of it is common.
    groups, _ = match_annotations(read_annotations(location, "group"), tiles, location)
    if not groups:
        raise ValueError(
            f"{location}: names none of the {len(tiles)} tiles, such as {tiles[0].path}; expected base names or paths "
            "below the source's root"
        )
    return [replace(ref, group=groups.get(ref.path)) for ref in tiles]


def _grouped_by_name(tiles: Sequence[TileRef], pattern: str) -> list[TileRef]:
    compiled = re.compile(pattern)
    found = [compiled.search(PurePosixPath(ref.path).name) for ref in tiles]
    if not any(found):
        raise ValueError(
            f"group_pattern = {pattern!r}: fits none of the {len(tiles)} file names, such as {tiles[0].path}"
        )
    return [replace(ref, group=(match[1] or None) if match else None) for ref, match in zip(tiles, found, strict=True)]


def _class_folders(labels: Sequence[str]) -> str:
    return f"a class folder (expected one of {', '.join(labels)})"
