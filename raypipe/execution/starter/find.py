"""Recognition of a data set: the settings with which one of the data sources reads it."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa

from raypipe.base.settings import Settings
from raypipe.data.audit.audit import choose_class_folders
from raypipe.data.reading.annotations import read_header, read_rows
from raypipe.data.reading.parquet_tree import contains_parquet, open_parquet_tree
from raypipe.data.reading.tree import open_tree, read_location
from raypipe.data.source import Source
from raypipe.data.sources import SOURCES, open_source
from raypipe.data.sources.csv_file import NO, YES, CsvFile, Places, get_folder
from raypipe.data.sources.folder import split_side
from raypipe.data.sources.medmnist import MedMNIST
from raypipe.data.sources.parquet import Parquet

IMAGES = (
    "filename", "file_name", "filepath", "file_path", "path", "file", "image_path", "img_path", "image", "image_id",
    "image_name", "img", "img_name", "img_id", "name", "id",
)  # fmt: skip
LABELS = (
    "label", "labels", "class", "class_name", "target", "diagnosis", "category", "dx", "y", "label_name", "classes",
    "disease", "finding", "tumor", "tumour", "type", "grade", "ground_truth", "gt",
)  # fmt: skip
GROUPS = (
    "patient_id", "patient", "patientid", "case_id", "case", "slide_id", "slide", "subject", "subject_id", "group",
    "group_id", "wsi", "wsi_id", "lesion_id", "donor", "donor_id", "source", "source_id",
)  # fmt: skip
SPLITS = ("split", "fold", "set", "subset", "partition", "side", "phase", "usage")
"""Usual names of columns of images, classes, groups and sides of a split, in lower case, the likeliest first."""
FEWEST_TILES = 2
"""Least number of images per class, on average, of a column that may hold classes."""


class Found(NamedTuple):
    """A data set: its settings, its source, and the CSV that gives the side of each file; None if there is none."""

    settings: Settings
    source: Source
    splits: str | None = None


def find_data(location: str, seed: int) -> Found:
    """Recognize a folder, zip archive, Parquet, npz or CSV file, and open it.

    A CSV has a row for each image. Without a column of classes, it lies in the folder that holds the class folders, and
    has the columns filename and group, or filename and split.

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
        case ".csv" | ".tsv":
            settings, splits = _from_csv(location)
        case ".npz":
            settings = MedMNIST(path=location)
        case _ if contains_parquet(location):
            settings = _from_parquet(location)
        case _:
            settings = choose_class_folders(location)
    try:
        return Found(settings, open_source(settings, seed), splits)
    except ValueError as error:
        if kind in (".csv", ".tsv", ".npz") or isinstance(settings, Parquet):
            raise
        for other in _list_published(location):
            try:
                found = Found(other, open_source(other, seed), splits)
                if any(ref.problem is None for ref in found.source.list()):
                    return found
            except (OSError, ValueError):  # it has another layout
                continue
        hint = "nor is it laid out as a data set of `raypipe data list`"
        raise ValueError(f"{error}; {hint}") from error


def _list_published(location: str) -> Iterator[Settings]:
    """Yield the settings of the published data sets that need a place alone."""
    for entry in SOURCES.values():
        if entry.published and "path" in entry.settings.model_fields:
            yield entry.settings.model_validate({"path": location})


def _from_csv(location: str) -> tuple[Settings, str | None]:
    """Return the settings of a CSV of paths and classes; otherwise those of the class folders that it lies in.

    In the second case the CSV gives groups, or the second item is the CSV as that of a split.
    """
    header = [name for name in read_header(read_location(location), location) if name]
    rows = [row for _, row in read_rows(read_location(location), location, header)]
    if not rows:
        raise ValueError(f"{location}: expected a header and a row for each image, found no rows")
    image, images = _find_images(location, header, rows)
    others = [name for name in header if name != image]
    group, split = _find_usual(others, GROUPS), _find_split(others, rows)
    label = _find_labels([name for name in others if name not in (group, split)], rows)
    if image and label:
        here = images == get_folder(location)
        return CsvFile(path=location, images=None if here else images, image=image, label=label, group=group,
                       split=split), None  # fmt: skip
    if "filename" in header and {"group", "split"} & set(header):
        groups = location if "group" in header else None
        return choose_class_folders(get_folder(location), groups), location if "split" in header else None
    missing = "the paths of images" if image is None else "their classes"
    names = IMAGES if image is None else LABELS
    raise ValueError(
        f"{location}: no column has {missing}; found {', '.join(header) or 'no columns'}; give the CSV a header with "
        f"names such as {', '.join(names[:3])}, and put the images below {get_folder(location)}"
    )


def _find_images(location: str, header: list[str], rows: list[dict[str, str]]) -> tuple[str | None, str]:
    """Return the column of images, and the place that its paths begin at.

    It names files in the folder of the CSV, in a zip archive there, or by absolute paths. Of several columns, the one
    that names most files counts, and then the one with the likeliest name. Raise ValueError if that is the name
    of a file, because then the CSV has no header.
    """
    here = get_folder(location)
    places = {place: Places(open_tree(place)) for place in (here, *_list_archives(here))}
    best: tuple[int, int, str, str] | None = None
    for column in header:
        values = [row[column] for row in rows if row[column]]
        absolute = [os.path.dirname(value) for value in values if PurePosixPath(value).is_absolute()]  # noqa: PTH120
        root = os.path.commonpath(absolute) if absolute else here
        if root not in places and Path(root).is_dir():
            places[root] = Places(open_tree(root))
        for place in dict.fromkeys((root if root in places else here, *places)):
            count = sum(len(places[place].find(value)) == 1 for value in values)
            usual = IMAGES.index(column.lower()) if column.lower() in IMAGES else len(IMAGES)
            if count and (best is None or (-count, usual) < best[:2]):
                best = (-count, usual, column, place)
    if best is None:
        return None, here
    *_, column, place = best
    if column.lower() not in IMAGES and places[place].find(column):
        raise ValueError(f"{location}: its first row names the image {column}: expected a header, such as path,label")
    return column, place


def _list_archives(folder: str) -> list[str]:
    """Return the zip archives in a local folder."""
    return [] if "://" in folder else [str(path) for path in sorted(Path(folder).glob("*.zip"))]


def _find_split(columns: list[str], rows: list[dict[str, str]]) -> str | None:
    """Return the column with the sides of a split, of a usual name, whose values are all names of sides."""
    split = _find_usual(columns, SPLITS)
    values = {row[split] for row in rows if row[split]} if split else set()
    return split if values and all(split_side(value) for value in values) else None


def _find_labels(columns: list[str], rows: list[dict[str, str]]) -> str | tuple[str, ...] | None:
    """Return the column of classes: one of a usual name, or the only one with few different values.

    Of columns of 0 and 1, one 1 in each row, each is a class, and all of them are returned.
    """
    if (usual := _find_usual(columns, LABELS)) is not None:
        return usual
    flags = tuple(column for column in columns if all(row[column] in (*YES, *NO) for row in rows))
    if len(flags) > 1 and all(sum(row[column] in YES for column in flags) == 1 for row in rows):
        return flags
    counts = {column: len({row[column] for row in rows if row[column]}) for column in columns}
    few = [column for column, count in counts.items() if 2 <= count <= len(rows) / FEWEST_TILES]
    return few[0] if len(few) == 1 else None


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
    label, group = _find_usual(others, LABELS), _find_usual(others, GROUPS)
    if label is None:
        raise ValueError(f"{location}: no column is named as one of classes ({', '.join(LABELS)}); it has {columns}")
    return Parquet(path=location, image=image, label=label, group=group)


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _find_usual(columns: list[str], names: tuple[str, ...]) -> str | None:
    lowered = {column.lower().replace(" ", "_").replace("-", "_"): column for column in columns}
    return next((lowered[name] for name in names if name in lowered), None)
