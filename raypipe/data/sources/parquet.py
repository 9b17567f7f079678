"""Any data set of Parquet files with a column of images, such as those of the Hugging Face Hub."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal, Self

import pyarrow as pa
from pydantic import Field, model_validator

from raypipe.data.class_choice import ClassChoice
from raypipe.data.reading.listed import ListedSource
from raypipe.data.reading.parquet_tree import ParquetTree, find_official_side, open_parquet_tree
from raypipe.data.source import DataSet, Source, TileRef
from raypipe.data.sources.label_column import require_class_count, sort_labels
from raypipe.data.sources.patterns import GroupPattern, require_at_most_one


class Parquet(ClassChoice):
    """Settings of a data set of Parquet files.

    Files whose name or folder begins with train, validation or test are on that side of ``tiles.split: official``.
    Validation tiles are training tiles. The license of the files is unknown: set `restriction` if it forbids the
    redistribution of pictures.

    Parameters
    ----------
    path
        Parquet file or a directory of Parquet files, a local path or a URI.
    image
        Column of images: encoded, as binary or as a struct with bytes and path, as `datasets` stores them.
    label
        Column of classes: names, or integers whose names `datasets` wrote into the file.
    group
        Column of the name that siblings share (patient, source tile). None if there is none.
    groups, group_pattern
        Alternatives to `group`, see `raypipe.data.sources.folder.Folder`. They match the images' names in the column's
        `path`.
    per_class, malignant, restriction
        See `raypipe.data.sources.folder.Folder`.
    """

    source: Literal["parquet"] = "parquet"
    path: str
    image: str = "image"
    label: str = "label"
    group: str | None = None
    groups: str | None = None
    group_pattern: GroupPattern | None = None
    per_class: int | None = Field(default=None, ge=1)
    malignant: tuple[str, ...] = ()
    restriction: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _groups_come_from_one_place(self) -> Self:
        require_at_most_one(self, "group", "groups", "group_pattern")
        return self


def open_parquet(settings: Parquet, seed: int) -> Source:
    """Open Parquet files.

    Raises
    ------
    FileNotFoundError
        If there is no Parquet file at `settings.path`.
    ValueError
        If a file is damaged or lacks a column, if files differ in their classes, or if there are fewer than two classes
        or more than 1,000. Also if `settings.malignant` names an unknown class.
    """
    tree = open_parquet_tree(settings.path, settings.image)
    labels = _list_labels(tree, settings.label)
    return ListedSource(
        tree=tree,
        labels=labels,
        list_refs=partial(_list_refs, tree, settings.label, settings.group),
        groups=settings.groups,
        group_pattern=settings.group_pattern,
        per_class=settings.per_class,
        seed=seed,
        malignant=settings.malignant,
        restriction=settings.restriction,
    )


DATA_SET = DataSet(Parquet, open_parquet)


def read_label_names(tree: ParquetTree, name: str, column: str) -> tuple[str, ...] | None:
    """Return the names that `datasets` wrote for the integers of a column, or None if it wrote none.

    Raises
    ------
    ValueError
        If the metadata do not have the form that `datasets` writes.
    """
    written = (tree.schema(name).metadata or {}).get(b"huggingface")
    if written is None:
        return None
    try:
        feature = json.loads(written)["info"]["features"].get(column, {})
        names = feature.get("names")
        if names is None:
            return None
        if not (isinstance(names, list) and all(isinstance(each, str) for each in names)):
            raise TypeError("names")
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f"{tree.location}/{name}: its `huggingface` metadata does not describe columns as the library `datasets` "
            f"does ({type(error).__name__}); write the file again"
        ) from error
    if len(set(names)) < len(names):
        raise ValueError(f"{tree.location}/{name}: column {column} has two classes of one name: {', '.join(names)}")
    return tuple(names)


def read_labeled_rows(
    tree: ParquetTree, name: str, column: str, *others: str
) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    """Yield path, class and other columns of every row of a file. The class is None if the row has none."""
    names = read_label_names(tree, name, column)
    for path, row in tree.rows(name, (column, *others)):
        value = row[column]
        if isinstance(value, int) and names is not None:
            value = names[value] if 0 <= value < len(names) else None
        yield path, None if value is None or value == "" else str(value), row


def _list_labels(tree: ParquetTree, column: str) -> tuple[str, ...]:
    """Return the classes in the order of their numbers, or of their names if the column holds names."""
    found: dict[tuple[str, ...], str] = {}
    for name in tree.names():
        _require_classes(tree, name, column)
        names = read_label_names(tree, name, column)
        found.setdefault(names or (), name)
        if len(found) > 1:
            first, second = found.values()
            raise ValueError(f"{tree.location}: {first} and {second} differ in the classes of {column}; keep one kind")
    (named,) = found
    if not named:
        seen = {label for name in tree.names() for _, label, _ in read_labeled_rows(tree, name, column) if label}
        named = sort_labels(seen)
    require_class_count(tree.location, column, named)
    return named


def _require_classes(tree: ParquetTree, name: str, column: str) -> None:
    schema = tree.schema(name)
    if column not in schema.names:
        raise ValueError(f"{tree.location}/{name}: no column {column}; there are {', '.join(schema.names)}")
    kind = schema.field(column).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise ValueError(f"{tree.location}/{name}: column {column} holds {kind}; expected whole numbers or names")


def _list_refs(tree: ParquetTree, label: str, group: str | None) -> Iterator[TileRef]:
    for name in tree.names():
        side = find_official_side(name)
        for path, found, row in read_labeled_rows(tree, name, label, *([group] if group else [])):
            if found is None:
                yield TileRef(path, None, None, f"no class in column {label}")
            else:
                known = row[group] if group else None
                yield TileRef(path, found, None if known is None else str(known), official=side)
