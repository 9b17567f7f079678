"""Any data set with one folder for each class."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import Literal, NamedTuple, Self

from pydantic import Field, model_validator

from raypipe.data.class_choice import ClassChoice
from raypipe.data.reading.annotations import name_few
from raypipe.data.reading.images import find_image
from raypipe.data.reading.listed import ListedSource, is_hidden, list_class_folders
from raypipe.data.reading.tree import Tree, is_outside, open_tree
from raypipe.data.source import DataSet, Source, Split, TileRef
from raypipe.data.sources.patterns import GroupPattern, require_at_most_one

SIDE = re.compile(
    "((?P<train>train|training|trn)|(?P<val>val|valid|validation|dev)|(?P<test>test|testing|tst))"
    "([ _.-]?(set|data|images|imgs|split))?",
    re.IGNORECASE,
)
"""Names of the folders of a published split, as in ``train``, ``Testing`` and ``val_set``."""


PARTS = re.compile(r"(fold|cv|part|batch|split|subset|set|chunk|shard)[ _.-]?\d+", re.IGNORECASE)
"""Names of the parts that a data set is cut into, such as the folds of a cross-validation."""
CASES = re.compile(r"(p|pt|pat|patient|case|subject|sub|slide|donor|specimen|wsi)[ _.-]?\d+", re.IGNORECASE)
"""Names of the folders of single patients or slides."""
PICTURES = re.compile(r"(images?|imgs?|pictures?|tiles?|patches)", re.IGNORECASE)
NO_PICTURES = re.compile(
    r"(masks?|labels?|annotations?|segmentations?|ground[ _-]?truths?|gts?|overlays?|heatmaps?)", re.I
)
"""Names of folders of pictures, and of what lies beside them and is no class."""


class Folder(ClassChoice):
    r"""Settings of a data set with one folder for each class.

    Parameters
    ----------
    path
        Directory or zip archive, a local path or a URI, whose top-level folders are the classes. A single folder around
        them is passed over. If they are named as the sides of a split, such as ``train``, ``val`` and ``test``, the
        folders below them are the classes. The split is ``tiles.split: official`` then; ``val`` trains if there is a
        ``test``.
    groups
        CSV with the columns filename, group and, if base names repeat, label.
    group_pattern
        Regular expression that is searched in each file's name. Its first capture group is the tile's group, as in
        ^GT(\d+). It excludes `groups`.
    per_class
        Number of tiles of each class to keep, in whole groups as far as possible. None keeps all.
    malignant
        Names of the cancer classes. With them, the report counts missed cancers and false alarms separately.
    restriction
        Reason why no picture made from the tiles may be redistributed, such as "the hospital's terms forbid it". With
        it, reports show no pictures.
    """

    source: Literal["folder"] = "folder"
    path: str
    groups: str | None = None
    group_pattern: GroupPattern | None = None
    per_class: int | None = Field(default=None, ge=1)
    malignant: tuple[str, ...] = ()
    restriction: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _groups_come_from_one_place(self) -> Self:
        require_at_most_one(self, "groups", "group_pattern")
        return self


def open_folder(settings: Folder, seed: int) -> Source:
    """Open class folders. Their names in sorted order are the labels. Folders of a published split may hold them.

    Raises
    ------
    FileNotFoundError
        If `settings.path` does not exist.
    ValueError
        If there are fewer than two class folders, one of them has no readable image, or `settings.malignant` names a
        class without a folder. Also if the folders of a published split hold no class folders.
    """
    tree = open_tree(settings.path)
    names = [entry.path for entry in tree.list_files()]
    paths = [path for path in names if not (is_hidden(path) or is_outside(path))]
    if not paths and (outside := list(filter(is_outside, names))):
        raise ValueError(
            f"path = {settings.path!r}: {len(outside)} names of its files lead out of the archive, first {outside[0]}: "
            "pack it again with relative names, as in benign/1.png"
        )
    layout = _find_layout(paths, settings.path)
    members: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        if name := layout.get_class(path):
            members[name].append(path)
    labels = tuple(sorted(members))
    if len(labels) < 2:
        raise ValueError(
            f"path = {settings.path!r}: expected at least two class folders with files directly below it, found "
            f"{', '.join(labels) or 'none'}; point to the folder that holds the class folders"
        )
    without = {name: find_image(found, tree.read) for name, found in sorted(members.items())}
    if reasons := [f"{name} ({reason})" for name, reason in without.items() if reason is not None]:
        raise ValueError(
            f"path = {settings.path!r}: no file of the class folder {name_few(reasons)} gives an image; move it out of "
            "the data set, or repair its files"
        )
    return ListedSource(
        tree=tree,
        labels=labels,
        list_refs=partial(_list_refs, tree, labels, layout),
        groups=settings.groups,
        group_pattern=settings.group_pattern,
        per_class=settings.per_class,
        seed=seed,
        malignant=settings.malignant,
        restriction=settings.restriction,
    )


DATA_SET = DataSet(Folder, open_folder)


class _Layout(NamedTuple):
    """The place of the class folders.

    `wrapping` is the path of the folder around everything, with a slash at its end, or "". `sides` are the sides of a
    published split by the name of their folder, which holds class folders.
    """

    wrapping: str
    sides: Mapping[str, Split]

    def get_class(self, path: str) -> str:
        return (get_second_folder if self.sides else get_top_folder)(path.removeprefix(self.wrapping))

    def get_side(self, path: str) -> Split | None:
        return self.sides.get(get_top_folder(path.removeprefix(self.wrapping)))


def _find_layout(paths: Sequence[str], location: str) -> _Layout:
    """Return the layout of the files, class folders with or without the folders of a split above them.

    Raises
    ------
    ValueError
        If the folders of a split hold files, but no class folders.
    """
    wrapping = _find_wrapping(paths)
    paths = [path.removeprefix(wrapping) for path in paths if path.startswith(wrapping)]
    tops = {get_top_folder(path) for path in paths} - {""}
    _require_classes(tops, paths, location)
    kinds = {name: kind for name in tops if (kind := split_side(name)) is not None}
    if len(kinds) < 2 or len(kinds) < len(tops):
        return _Layout(wrapping, {})
    if not any(get_second_folder(path) for path in paths):
        raise ValueError(
            f"path = {location!r}: {', '.join(sorted(tops))} are named as the sides of a split, and hold no class "
            "folders; put a folder for each class below each of them, or rename them if they are the classes"
        )
    held_out = "test" if "test" in kinds.values() else "val"
    return _Layout(wrapping, {name: "test" if kind == held_out else "train" for name, kind in kinds.items()})


def _find_wrapping(paths: Sequence[str]) -> str:
    """Return the folder that everything lies in, as archivers pack it, with a slash at its end; "" if there is none."""
    wrapping = ""
    while True:
        below = [path.removeprefix(wrapping) for path in paths if path.startswith(wrapping)]
        tops = {get_top_folder(path) for path in below} - {""}
        if len(tops) != 1 or not any(map(get_second_folder, below)):
            return wrapping
        wrapping += f"{tops.pop()}/"


def _require_classes(tops: AbstractSet[str], paths: Sequence[str], location: str) -> None:
    """Raise ValueError if the top folders are parts of a data set, cases, or pictures beside their masks."""
    below = {name: {get_second_folder(path) for path in paths if get_top_folder(path) == name} for name in tops}
    same = len(set(map(frozenset, below.values()))) == 1 and len(next(iter(below.values()), set()) - {""}) > 1
    if len(tops) > 1 and same and all(map(PARTS.fullmatch, tops)):
        raise ValueError(
            f"path = {location!r}: {name_few(tops)} are named as parts of a data set, and each holds the same folders "
            f"({name_few(next(iter(below.values())))}); put the files of a class into one folder, or describe them in "
            "a CSV: {source: csv}"
        )
    if len(tops) > 1 and all(map(CASES.fullmatch, tops)):
        raise ValueError(
            f"path = {location!r}: {name_few(sorted(tops))} are named as patients or slides, and not as classes; put "
            "them into a folder for each class, or describe the files in a CSV: {source: csv}"
        )
    beside = sorted(filter(NO_PICTURES.fullmatch, tops))
    if beside and any(map(PICTURES.fullmatch, tops)) and len(tops) <= len(beside) + 1:
        (pictures,) = set(tops) - set(beside)
        raise ValueError(
            f"path = {location!r}: {pictures} and {', '.join(beside)} are named as pictures and what belongs to them, "
            f"and not as classes; point to {pictures} if it holds the class folders"
        )


def split_side(folder: str) -> Literal["train", "val", "test"] | None:
    """Return the side of a split that a folder's name states, or None if it states none."""
    match = SIDE.fullmatch(folder)
    return None if match is None else "train" if match["train"] else "val" if match["val"] else "test"


def _list_refs(tree: Tree, labels: tuple[str, ...], layout: _Layout) -> list[TileRef]:
    refs = list_class_folders(tree, labels, layout.get_class)
    return [ref if ref.problem else replace(ref, official=layout.get_side(ref.path)) for ref in refs]


def get_top_folder(path: str) -> str:
    """Return the first folder of a relative path, or "" for a file at the root."""
    parts = PurePosixPath(path).parts
    return parts[0] if len(parts) > 1 else ""


def get_second_folder(path: str) -> str:
    """Return the second folder of a relative path, or "" for a file above it."""
    parts = PurePosixPath(path).parts
    return parts[1] if len(parts) > 2 else ""
