"""CSV files with a value for each tile: its group, or its side of the split."""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TypeVar

from raypipe.base.text import decode_text
from raypipe.data.reading.tree import read_location
from raypipe.data.source import TileRef

T = TypeVar("T")
MISSING = frozenset(
    ("", "#n/a", "#n/a n/a", "#na", "<na>", "n/a", "na", "nan", "-nan", "none", "null", "nil", "#null!", "#value!")
)
"""Words for a missing value, in lower case, as R, pandas and Excel write them."""
DELIMITERS = ",;\t|"
"""Characters that separate columns, the usual one first. Excel writes semicolons where commas are in numbers."""
INVISIBLE = "\ufeff\u200b"
"""Characters besides white space that exported tables have around values."""


@dataclass(frozen=True)
class Annotation:
    """One row of a CSV: a file, named by its path in the source or by its base name, and a value for it."""

    filename: str
    label_name: str | None
    value: str


def read_annotations(location: str, column: str) -> list[Annotation]:
    """Read a CSV with a header that names `filename`, `column` and, optionally, `label`.

    Parameters
    ----------
    location
        Local path or URI of the file: UTF-8, or UTF-16 with its mark; columns separated by one of `DELIMITERS`.
    column
        Column with the values, such as "group". Rows without a value are left out, also those whose value is one of
        `MISSING`.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file is not UTF-8 text or not CSV, or if a column is missing or occurs twice.
    """
    rows = read_rows(read_location(location), location, ("filename", column), optional=("label",))
    values = ((row, clean_value(row[column])) for _, row in rows)
    return [Annotation(row["filename"], row["label"] or None, value) for row, value in values if value is not None]


def clean_value(value: object) -> str | None:
    """Return a value of a table without white space around it, or None if it stands for a missing one."""
    text = str(value).strip().strip(INVISIBLE).strip()
    return None if value is None or text.lower() in MISSING else text


def read_header(data: bytes, location: str) -> list[str]:
    """Return the column names of a CSV. Raise ValueError if it is not UTF-8 text or not CSV."""
    return [name.strip() for name in _parse_csv(data, location, lambda rows: rows.fieldnames or [])]


def read_rows(
    data: bytes, location: str, columns: Sequence[str], *, optional: Sequence[str] = ()
) -> list[tuple[int, dict[str, str]]]:
    """Read some columns of a CSV with a header.

    Parameters
    ----------
    data
        Content of the file.
    location
        Location of the file, for messages.
    columns
        Columns that the header must have.
    optional
        Columns that the header may have.

    Returns
    -------
    list
        Line number and row, for each row, without white space around values. A missing value is "".

    Raises
    ------
    ValueError
        If the file is not UTF-8 text or not CSV, or if a column is missing or occurs twice.
    """
    header = read_header(data, location)
    if [name for name in columns if name not in header]:
        raise ValueError(
            f"{location}: expected a header with {' and '.join(columns)}, found {', '.join(header) or 'none'}"
        )
    wanted = (*columns, *optional)
    if twice := {name for name in wanted if header.count(name) > 1}:
        raise ValueError(f"{location}: the header has {', '.join(sorted(twice))} more than once; keep one column of it")
    written = {name.strip(): name for name in _parse_csv(data, location, lambda rows: rows.fieldnames or [])}

    def read(rows: "csv.DictReader[str]") -> list[tuple[int, dict[str, str]]]:
        return [
            (rows.line_num, {name: (row.get(written.get(name, "")) or "").strip() for name in wanted}) for row in rows
        ]

    return _parse_csv(data, location, read)


def _parse_csv(data: bytes, location: str, read: "Callable[[csv.DictReader[str]], T]") -> T:
    text = _read_text(data, location)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=_find_delimiter(text))
    try:
        return read(rows)
    except csv.Error as error:
        raise ValueError(
            f"{location}: line {rows.line_num + 1} is not CSV ({error}); look for an open quotation mark"
        ) from error


def _read_text(data: bytes, location: str) -> str:
    """Return the text of a CSV, without blank lines before its header and without the line ``sep=;`` of Excel."""
    text = decode_text(data, location).lstrip("\r\n")
    return text.partition("\n")[2] if text[:4].lower() == "sep=" else text


def _find_delimiter(text: str) -> str:
    """Return the separator of the header's columns: the one that gives the most columns, a comma in doubt."""
    header = re.sub('"[^"]*"', "", re.split("[\r\n]", text, maxsplit=1)[0])
    return max(DELIMITERS, key=header.count)


def match_annotations(
    annotations: Iterable[Annotation], refs: Sequence[TileRef], location: str
) -> tuple[dict[str, str], list[str]]:
    """Match annotations to tiles.

    A file name is the tile's path in the source or, without a slash, its base name. If several tiles share the base
    name, the label decides.

    Parameters
    ----------
    annotations
        Output of `read_annotations`.
    refs
        Tiles.
    location
        Source of the annotations, for messages.

    Returns
    -------
    values
        Value by path, for the tiles that an annotation names.
    unknown
        File names that match none of the tiles.

    Raises
    ------
    ValueError
        If a name fits several tiles, a tile has two different values, or only rows with a label that is no class name
        a tile.
    """
    places: dict[str, list[TileRef]] = defaultdict(list)
    for ref in refs:
        for name in {ref.path, PurePosixPath(ref.path).name}:
            places[name].append(ref)
    classes = {ref.label_name for ref in refs}
    values: dict[str, str] = {}
    unknown, mislabeled = [], dict[str, Annotation]()
    for row in annotations:
        named = places.get(row.filename, [])
        found = [ref for ref in named if row.label_name in (None, ref.label_name)]
        if not found:
            unknown.append(row.filename)
            mislabeled |= {ref.path: row for ref in named if row.label_name not in classes and ref.problem is None}
            continue
        if len(found) > 1:
            raise ValueError(
                f"{location}: filename {row.filename!r} fits {name_few(ref.path for ref in found)}; "
                "give the path below the root, or a label column"
            )
        if values.setdefault(found[0].path, row.value) != row.value:
            raise ValueError(
                f"{location}: {found[0].path} has both {values[found[0].path]!r} and {row.value!r}; keep one"
            )
    if lost := sorted(path for path in mislabeled if path not in values):
        (label,) = {str(ref.label_name) for ref in refs if ref.path == lost[0]}
        raise ValueError(
            f"{location}: {len(lost)} tiles are named with a label that is no class: {lost[0]} has the label "
            f"{mislabeled[lost[0]].label_name!r}, expected {label!r}; write the names of the classes, or leave the "
            "column label out if no file name repeats"
        )
    return values, unknown


def name_few(names: Iterable[str], count: int = 3) -> str:
    """Return the first few names for a message, such as "a, b, c and 7 more"."""
    ordered = sorted(names)
    shown = ", ".join(ordered[:count])
    return shown if len(ordered) <= count else f"{shown} and {len(ordered) - count} more"
