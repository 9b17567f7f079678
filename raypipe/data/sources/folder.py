"""Any data set that is laid out as one folder a class."""

from functools import partial
from pathlib import PurePosixPath
from typing import Literal, Self

from pydantic import Field, model_validator

from raypipe.base.settings import Settings
from raypipe.data.reading.listed import ListedSource, in_class_folders, is_hidden
from raypipe.data.reading.tree import is_outside, open_tree
from raypipe.data.source import Source
from raypipe.data.sources.patterns import GroupPattern


class Folder(Settings):
    """Where the class folders are and how their tiles are grouped.

    Attributes
    ----------
    path
        Directory or zip archive, local or a URI, whose top-level folders are the classes.
    groups
        CSV with the columns filename, group and, where base names repeat, label.
    group_pattern
        Regular expression searched in each file's name; its first capture group is the tile's group, such as
        ^GT(\\d+). Instead of `groups`.
    per_class
        Keep this many tiles of each class, in whole groups as far as possible; all by default.
    malignant
        The classes that are cancer: with them, cancer called benign is reported apart from benign called cancer.
    restriction
        Why no picture made from the tiles may be passed on, such as "the hospital's terms forbid it"; with it, reports
        show none.
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
        if self.groups is not None and self.group_pattern is not None:
            raise ValueError("groups and group_pattern: expected one of them, found both; leave one out")
        return self


def open_folder(settings: Folder, seed: int) -> Source:
    """Open class folders, with their names in sorted order as labels.

    Raises
    ------
    FileNotFoundError
        There is nothing at `settings.path`.
    ValueError
        Fewer than two class folders hold a file.
    """
    tree = open_tree(settings.path)
    labels = {top_folder(entry.path) for entry in tree.files() if not (is_hidden(entry.path) or is_outside(entry.path))}
    labels.discard("")
    if len(labels) < 2:
        raise ValueError(
            f"path = {settings.path!r}: expected at least two class folders with files directly below it, found "
            f"{', '.join(labels) or 'none'}; point to the folder that holds the class folders (an archive must not "
            "wrap them in another folder)"
        )
    if unknown := sorted(set(settings.malignant) - labels):
        known = ", ".join(sorted(labels))
        raise ValueError(f"malignant: no class folder {', '.join(unknown)}; there are {known}")
    return ListedSource(
        tree=tree,
        labels=tuple(sorted(labels)),
        refs_of=partial(in_class_folders, tree, tuple(sorted(labels)), top_folder),
        groups=settings.groups,
        group_pattern=settings.group_pattern,
        per_class=settings.per_class,
        seed=seed,
        malignant=settings.malignant,
        restriction=settings.restriction,
    )


def top_folder(path: str) -> str:
    """Return the first folder of a relative path, "" for a file at the root."""
    parts = PurePosixPath(path).parts
    return parts[0] if len(parts) > 1 else ""
