"""CSV files that say something of each tile: its group, or its side of the split."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from raypipe.data.sources import TileRef
from raypipe.data.tree import read_location


@dataclass(frozen=True)
class Annotation:
    """One row: a file, named by its path in the source or by its base name, and a value for it."""

    filename: str
    label_name: str | None
    value: str


def read_annotations(location: str, column: str) -> list[Annotation]:
    """Read a CSV with a header that names `filename`, `column` and, optionally, `label`.

    Parameters
    ----------
    location
        Local path or URI of the file, UTF-8.
    column
        The column with the values, such as "group"; rows where it is empty are left out.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is not UTF-8 text or not CSV, or a column is missing or there twice.
    """
    try:
        text = read_location(location).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{location}: expected UTF-8 text ({error})") from error
    rows = csv.DictReader(io.StringIO(text, newline=""))
    try:
        return _read_rows(rows, column, location)
    except csv.Error as error:
        raise ValueError(
            f"{location}: line {rows.line_num + 1} is not CSV ({error}); see whether a quotation mark is left open"
        ) from error


def _read_rows(rows: "csv.DictReader[str]", column: str, location: str) -> list[Annotation]:
    header = rows.fieldnames or []
    missing = [name for name in ("filename", column) if name not in header]
    if missing:
        raise ValueError(
            f"{location}: expected a header with filename and {column}, found {', '.join(header) or 'none'}"
        )
    if twice := {name for name in ("filename", "label", column) if header.count(name) > 1}:
        raise ValueError(f"{location}: the header has {', '.join(sorted(twice))} more than once; keep one column of it")
    return [Annotation(row["filename"] or "", row.get("label") or None, row[column]) for row in rows if row[column]]


def match_annotations(
    annotations: Iterable[Annotation], refs: Sequence[TileRef], location: str
) -> tuple[dict[str, str], list[str]]:
    """Find the tile that each annotation means.

    A file name is the tile's path in the source or, without a slash, its base name; where several tiles share
    the base name, the label decides.

    Parameters
    ----------
    annotations
        From `read_annotations`.
    refs
        The tiles.
    location
        Where the annotations come from, for messages.

    Returns
    -------
    values
        The value of each path that an annotation names.
    unknown
        File names that name none of the tiles.

    Raises
    ------
    ValueError
        A name fits several tiles, or a tile has two different values.
    """
    places: dict[str, list[TileRef]] = defaultdict(list)
    for ref in refs:
        for name in {ref.path, PurePosixPath(ref.path).name}:
            places[name].append(ref)
    values: dict[str, str] = {}
    unknown = []
    for row in annotations:
        found = [ref for ref in places.get(row.filename, []) if row.label_name in (None, ref.label_name)]
        if not found:
            unknown.append(row.filename)
            continue
        if len(found) > 1:
            raise ValueError(
                f"{location}: filename {row.filename!r} fits {examples(ref.path for ref in found)}; "
                "give the path below the root, or a label column"
            )
        if values.setdefault(found[0].path, row.value) != row.value:
            raise ValueError(
                f"{location}: {found[0].path} has both {values[found[0].path]!r} and {row.value!r}; keep one"
            )
    return values, unknown


def examples(names: Iterable[str], count: int = 3) -> str:
    """Return the first few names for a message, such as "a, b, c and 7 more"."""
    ordered = sorted(names)
    shown = ", ".join(ordered[:count])
    return shown if len(ordered) <= count else f"{shown} and {len(ordered) - count} more"
