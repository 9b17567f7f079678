"""Classes that a column of a table names: their order and their number."""

from collections.abc import Iterable, Sequence

from raypipe.data.reading.annotations import name_few

CLASSES = 1000
"""Largest number of classes. With more, the column does not hold classes."""


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Return classes in their order: names by letter, then numbers by size, so that "9" comes before "10"."""
    return tuple(sorted(labels, key=lambda label: (len(label), label) if label.isdigit() else (0, label)))


def require_class_count(location: str, column: str, labels: Sequence[str]) -> None:
    """Require at least two classes and at most `CLASSES`. Raise ValueError otherwise.

    Parameters
    ----------
    location
        Path or URI of the table, for the message.
    column
        Name of the column.
    labels
        Names of its classes.
    """
    if not 2 <= len(labels) <= CLASSES:
        found = f"{len(labels)} classes ({name_few(labels) or 'none'})"
        raise ValueError(f"{location}: column {column} has {found}; expected 2..{CLASSES}")
