"""Any data set with one folder for each class."""

from functools import partial
from pathlib import PurePosixPath
from typing import Literal, Self

from pydantic import Field, model_validator

from raypipe.base.settings import Settings
from raypipe.data.reading.listed import ListedSource, is_hidden, list_class_folders
from raypipe.data.reading.tree import is_outside, open_tree
from raypipe.data.source import DataSet, Source
from raypipe.data.sources.patterns import GroupPattern


class Folder(Settings):
    r"""Settings of a data set with one folder for each class.

    Parameters
    ----------
    path
        Directory or zip archive, a local path or a URI, whose top-level folders are the classes.
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
        if self.groups is not None and self.group_pattern is not None:
            raise ValueError("groups and group_pattern: expected one of them, found both; leave one out")
        return self


def open_folder(settings: Folder, seed: int) -> Source:
    """Open class folders. Their names in sorted order are the labels.

    Raises
    ------
    FileNotFoundError
        If `settings.path` does not exist.
    ValueError
        If fewer than two class folders hold a file, or `settings.malignant` names a class without a folder.
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
        list_refs=partial(list_class_folders, tree, tuple(sorted(labels)), top_folder),
        groups=settings.groups,
        group_pattern=settings.group_pattern,
        per_class=settings.per_class,
        seed=seed,
        malignant=settings.malignant,
        restriction=settings.restriction,
    )


DATA_SET = DataSet(Folder, open_folder)


def top_folder(path: str) -> str:
    """Return the first folder of a relative path, or "" for a file at the root."""
    parts = PurePosixPath(path).parts
    return parts[0] if len(parts) > 1 else ""
