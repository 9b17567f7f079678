"""Recognition of a data set: the settings with which one of the data sources reads it."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa

from raypipe.base.settings import Settings
from raypipe.data.audit.audit import class_folders
from raypipe.data.reading.annotations import read_header
from raypipe.data.reading.parquet_tree import contains_parquet, open_parquet_tree
from raypipe.data.source import Source
from raypipe.data.sources import SOURCES, open_source
from raypipe.data.sources.medmnist import MedMNIST
from raypipe.data.sources.parquet import Parquet

LABELS = ("label", "labels", "class", "target", "diagnosis", "category", "dx", "y")
GROUPS = ("patient_id", "patient", "case_id", "case", "slide_id", "slide", "subject", "subject_id", "group", "wsi")
"""Usual names of columns of classes and of groups, in lower case, the likeliest first."""


class Found(NamedTuple):
    """A data set: its settings, its source, and the CSV that gives the side of each file; None if there is none."""

    settings: Settings
    source: Source
    splits: str | None = None


def find_data(location: str, seed: int) -> Found:
    """Recognize a folder, zip archive, Parquet, npz or CSV file, and open it.

    A CSV lies in the folder of the images, and has the columns filename and group, or filename and split.

    Raises
    ------
    FileNotFoundError
        If nothing is there.
    ValueError
        If no data source reads it. The message has the reason of the likeliest one.
    """
    kind = PurePosixPath(location).suffix.lower()
    splits = None
    settings: Settings
    match kind:
        case ".csv":
            settings, splits = _from_csv(location)
        case ".npz":
            settings = MedMNIST(path=location)
        case _ if contains_parquet(location):
            settings = _from_parquet(location)
        case _:
            settings = class_folders(location)
    try:
        return Found(settings, open_source(settings, seed), splits)
    except ValueError as error:
        if kind in (".csv", ".npz") or isinstance(settings, Parquet):
            raise
        for other in _published(location):
            try:
                found = Found(other, open_source(other, seed), splits)
                if any(ref.problem is None for ref in found.source.list()):
                    return found
            except (OSError, ValueError):  # it has another layout
                continue
        hint = "nor is it laid out as a data set of `raypipe data list`"
        raise ValueError(f"{error}; {hint}") from error


def _published(location: str) -> Iterator[Settings]:
    """Yield the settings of the published data sets that need a place alone."""
    for entry in SOURCES.values():
        if entry.published and "path" in entry.settings.model_fields:
            yield entry.settings.model_validate({"path": location})


def _from_csv(location: str) -> tuple[Settings, str | None]:
    """Return the settings of the folder that a CSV lies in, with its groups, or the CSV as that of a split."""
    path = Path(location).expanduser()
    header = read_header(path.read_bytes(), location)
    if "filename" not in header or not {"group", "split"} & set(header):
        raise ValueError(
            f"{location}: expected a CSV with the columns filename and group, or filename and split, in the folder of "
            f"the images, found {', '.join(header) or 'no columns'}; rename its columns. Put "
            "the images of each class into a folder of its own, since classes come from folders"
        )
    groups = location if "group" in header else None
    settings = class_folders(str(path.absolute().parent), groups)
    return settings, location if "split" in header else None


def _from_parquet(location: str) -> Parquet:
    """Return the settings of Parquet files, with the columns of images, classes and groups that their schema shows."""
    tree = open_parquet_tree(location, "image")
    schema = tree.schema(tree.names()[0])
    images = [field.name for field in schema if _holds_images(field.type)]
    others = [field.name for field in schema if field.name not in images]
    columns = ", ".join(schema.names)
    if not images:
        raise ValueError(
            f"{location}: no column holds encoded images, as binary or a struct with bytes; it has {columns}"
        )
    image = "image" if "image" in images else images[0]
    label, group = _usual(others, LABELS), _usual(others, GROUPS)
    if label is None:
        raise ValueError(f"{location}: no column is named as one of classes ({', '.join(LABELS)}); it has {columns}")
    return Parquet(path=location, image=image, label=label, group=group)


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _usual(columns: list[str], names: tuple[str, ...]) -> str | None:
    lowered = {column.lower(): column for column in columns}
    return next((lowered[name] for name in names if name in lowered), None)
