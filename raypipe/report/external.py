"""Accuracy on external test sets, as tables with their reservations."""

from collections.abc import Iterator

from raypipe.evaluation.statistics.intervals import METHOD
from raypipe.report.cells import format_model
from raypipe.report.layout import Book, Row, format_interval, format_percent
from raypipe.report.names import name_class
from raypipe.report.sheet import Note, Sheet

INDEPENDENT = (
    "The two sets of tiles are independent samples: the interval of a drop combines those of both accuracies "
    "(Newcombe's hybrid score)."
)
BALANCED = ("own_balanced_accuracy", "balanced_accuracy", "balanced_drop")


def tabulate_external(book: Book) -> Sheet | None:
    """Return a table of each model's accuracy on each external test set; None if the run has none."""
    if not book.external:
        return None
    table = Sheet("Accuracy on external test sets, and its 95 % interval, in %")
    table.add_columns("set", "model")
    table.add_columns("own test tiles", "external", "drop", figures=True)
    table.add_columns("own, balanced", "external, balanced", "drop, balanced", "answers outside", figures=True)
    for name, rows in _group_by_set(book).items():
        table.add_section()
        for row in (row for row in rows if row["label"] is None):
            table.add_row(
                name,
                format_model(book, row["subject"]),
                format_interval(row, name="own_accuracy"),
                format_interval(row),
                format_interval(row, name="drop"),
                *(format_interval(row, name=name) for name in BALANCED),
                f"{row['outside']} of {row['tiles']}",
            )
    table.caption = (
        "Own test tiles: those of the classes that are mapped. Answers outside: predictions of a class that is not "
        "mapped; they count as wrong. Balanced: mean of the recalls, which does not depend on how common a class is. "
        f"{METHOD} {INDEPENDENT}"
    )
    return table


def tabulate_external_classes(book: Book) -> Sheet | None:
    """Return a table of each model's recall of each class of the external test sets; None if the run has none."""
    if not book.external:
        return None
    table = Sheet("Recall by class on external test sets, and its 95 % interval, in %")
    table.add_columns("set", "model", "class")
    table.add_columns("own test tiles", "external", "drop", "tiles", "answers outside", figures=True)
    for name, rows in _group_by_set(book).items():
        table.add_section()
        for row in (row for row in rows if row["label"] is not None):
            table.add_row(
                name,
                format_model(book, row["subject"]),
                name_class(row["label"]),
                format_interval(row, name="own_accuracy"),
                format_interval(row),
                format_interval(row, name="drop"),
                str(row["tiles"]),
                str(row["outside"]),
            )
    table.caption = f"{METHOD} {INDEPENDENT}"
    return table


def list_external_reservations(book: Book) -> Iterator[Note]:
    """Yield the reservations about the external test sets: siblings of training tiles, and tiles that were left out."""
    for name, rows in _group_by_set(book).items():
        first = rows[0]
        for row in {row["split"]: row for row in rows}.values():
            yield from _list_overlaps(row)
        if first["synthetic"]:
            yield Note(f"{name}: synthetic tissue; no figure on it applies to real images.", "bad")
        left_out = f"; left out: {', '.join(first['left_out'])}" if first["left_out"] else ""
        yield Note(f"{name}: {first['tiles']} tiles of {first['groups']} groups{left_out}.")
        for row in rows:
            if row["label"] is None and (row["balanced_accuracy_low"] or 0) <= row["chance"]:
                high = row["balanced_accuracy_high"]
                verdict = "is below" if high is not None and high < row["chance"] else "may be no better than"
                yield Note(
                    f"{name}: the balanced accuracy of {row['subject']} {verdict} chance "
                    f"({format_percent(row['chance'])} %). "
                    "Compare stain, magnification and the definition of the classes.",
                    "warn",
                )


def _list_overlaps(row: Row) -> Iterator[Note]:
    if row["siblings"] is None:
        yield Note(f"{row['set_id']}: training tiles are unknown, so nobody looked for their siblings in it.", "warn")
    elif row["siblings"]:
        yield Note(
            f"{row['set_id']}: {row['siblings']} of {row['compared']} tiles seem to be siblings of training tiles "
            f"({row['split']} split). Figures on this set may be too high.",
            "bad",
        )


def _group_by_set(book: Book) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in book.external:
        found.setdefault(row["set_id"], []).append(row)
    return found
