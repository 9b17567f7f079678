"""Any data set that a CSV describes: the path of each image, its class, and optionally its group and its side."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from raypipe.data.class_choice import ClassChoice
from raypipe.data.reading.annotations import clean_value, name_few, read_rows
from raypipe.data.reading.listed import ListedSource
from raypipe.data.reading.tree import Tree, open_tree, read_location
from raypipe.data.source import DataSet, Source, Split, TileRef
from raypipe.data.sources.folder import split_side
from raypipe.data.sources.label_column import require_class_count, sort_labels
from raypipe.data.sources.patterns import GroupPattern, require_at_most_one

YES, NO = ("1", "1.0", "true", "True", "TRUE"), ("0", "0.0", "false", "False", "FALSE")
"""Values in the column of a class: of an image of it, and of any other image."""


class CsvFile(ClassChoice):
    """Settings of a data set that a CSV describes, a row for each image.

    Parameters
    ----------
    path
        CSV with a header, a local path or a URI. Commas, semicolons, tabs or bars separate its columns.
    images
        Directory or zip archive of the images, a local path or a URI. Default: the folder of the CSV.
    image
        Column of the images: absolute paths, paths below `images`, or file names, with or without an extension.
    label
        Column of the classes; or several columns that are each a class, with a 1 in that of the image and 0 elsewhere.
    group
        Column of the name that siblings share (patient, source tile). None if there is none.
    split
        Column of the published side, such as train, val or test, for ``tiles.split: official``. ``val`` trains if there
        is a ``test``. None if there is none.
    groups, group_pattern
        Alternatives to `group`, see `raypipe.data.sources.folder.Folder`.
    per_class, malignant, restriction
        See `raypipe.data.sources.folder.Folder`.
    """

    source: Literal["csv"] = "csv"
    path: str
    images: str | None = None
    image: str = "filename"
    label: str | Annotated[tuple[str, ...], Field(min_length=2)] = "label"
    group: str | None = None
    split: str | None = None
    groups: str | None = None
    group_pattern: GroupPattern | None = None
    per_class: int | None = Field(default=None, ge=1)
    malignant: tuple[str, ...] = ()
    restriction: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _groups_come_from_one_place(self) -> Self:
        require_at_most_one(self, "group", "groups", "group_pattern")
        return self


class Row(NamedTuple):
    """One row of the CSV: the name of an image, its class, its group, and its side of the published split."""

    name: str
    label: str | None
    group: str | None
    side: str | None


def open_csv(settings: CsvFile, seed: int) -> Source:
    """Open the images that a CSV names. The classes in sorted order are the labels, "9" before "10".

    Raises
    ------
    FileNotFoundError
        If the CSV or the place of its images does not exist.
    ValueError
        If the CSV lacks a column or names none of the images, if an image has two classes, groups or sides, if a side
        is unknown, or if there are fewer than two classes or more than 1,000. Also if `settings.malignant` names an
        unknown class.
    """
    rows = read_csv(settings)
    labels = sort_labels({row.label for row in rows if row.label})
    require_class_count(settings.path, ", ".join(_list_label_columns(settings)), labels)
    tree = open_tree(settings.images or get_folder(settings.path))
    return ListedSource(
        tree=tree,
        labels=labels,
        list_refs=partial(_list_refs, tree, tuple(rows), settings),
        groups=settings.groups,
        group_pattern=settings.group_pattern,
        per_class=settings.per_class,
        seed=seed,
        malignant=settings.malignant,
        restriction=settings.restriction,
    )


DATA_SET = DataSet(CsvFile, open_csv)


def read_csv(settings: CsvFile) -> list[Row]:
    """Return the rows of the CSV that name an image.

    Raises
    ------
    FileNotFoundError
        If the CSV does not exist.
    ValueError
        If it is no CSV, or lacks a column.
    """
    others = [column for column in (settings.group, settings.split) if column is not None]
    columns = (settings.image, *_list_label_columns(settings), *others)
    rows = []
    for _, row in read_rows(read_location(settings.path), settings.path, columns):
        known = {column: clean_value(row[column]) for column in columns}
        if name := known[settings.image]:
            group, side = (known[column] if column else None for column in (settings.group, settings.split))
            rows.append(Row(name, _find_label(known, settings), group, side))
    return rows


def _list_label_columns(settings: CsvFile) -> tuple[str, ...]:
    return (settings.label,) if isinstance(settings.label, str) else settings.label


def _find_label(known: Mapping[str, str | None], settings: CsvFile) -> str | None:
    """Return the class of a row, or None if it states none or several."""
    if isinstance(settings.label, str):
        return known[settings.label]
    chosen = [column for column in settings.label if (known[column] or "") in YES]
    return chosen[0] if len(chosen) == 1 else None


def get_folder(location: str) -> str:
    """Return the folder that a file lies in, as a path or a URI."""
    return location.rpartition("/")[0] or ("/" if location.startswith("/") else ".")


class Places:
    """The files of a tree by the names that a table may give them."""

    def __init__(self, tree: Tree) -> None:
        self._root = tree.location.rstrip("/")
        self._by_path: dict[str, str] = {}
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for entry in tree.list_files():
            path = PurePosixPath(entry.path)
            self._by_path[entry.path] = entry.path
            for name in {path.name, path.stem, entry.path.removesuffix(path.suffix)}:
                self._by_name[name].append(entry.path)

    def find(self, name: str) -> list[str]:
        """Return the files that a name of a table can mean: one, none, or several."""
        path = name.replace("\\", "/").removeprefix(f"{self._root}/")
        while path.startswith("./"):
            path = path.removeprefix("./")
        if path in self._by_path:
            return [path]
        return self._by_name.get(path, [])


def _list_refs(tree: Tree, rows: Sequence[Row], settings: CsvFile) -> Iterator[TileRef]:
    """Yield the images that the rows name. A row that names none gives a ref with a problem."""
    places, table = Places(tree), PurePosixPath(settings.path).name
    sides = _read_sides(rows, settings)
    found: dict[str, Row] = {}
    missing: dict[str, str] = {}
    for row in rows:
        match places.find(row.name):
            case [path]:
                first = found.setdefault(path, row)
                if first[1:] != row[1:]:
                    raise ValueError(
                        f"{settings.path}: {path} has both {_describe_row(first)} and {_describe_row(row)}; keep one"
                    )
            case []:
                missing[row.name] = f"named by {table}, and not in {tree.location}"
            case several:
                raise ValueError(
                    f"{settings.path}: {row.name!r} fits {name_few(several)}; give the path below {tree.location}"
                )
    if not found:
        raise ValueError(
            f"{settings.path}: none of its {len(rows)} images, such as {rows[0].name}, is in {tree.location}; set "
            "`images` to the folder or zip archive that the paths begin at"
        )
    for path, row in found.items():
        if row.label is None:
            column, *more = _list_label_columns(settings)
            problem = f"not one of {', '.join((column, *more))} is 1" if more else f"no class in column {column}"
            yield TileRef(path, None, None, problem)
        else:
            yield TileRef(path, row.label, row.group, official=sides[row.side])
    yield from (TileRef(name, None, None, problem) for name, problem in missing.items())


def _read_sides(rows: Sequence[Row], settings: CsvFile) -> dict[str | None, Split | None]:
    """Return the side of the split by its name in the CSV."""
    kinds = {row.side: split_side(row.side) for row in rows if row.side is not None}
    if unknown := sorted(side for side, kind in kinds.items() if kind is None):
        raise ValueError(
            f"{settings.path}: column {settings.split} has {name_few(unknown)}; expected train, val or test"
        )
    held_out = "test" if "test" in kinds.values() else "val"
    return {None: None, **{side: "test" if kind == held_out else "train" for side, kind in kinds.items()}}


def _describe_row(row: Row) -> str:
    return ", ".join(filter(None, row[1:])) or "nothing"
