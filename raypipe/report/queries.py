"""Accuracy against the number of queries, as a table."""

from raypipe.evaluation.results.queries import MARKS
from raypipe.evaluation.statistics.intervals import METHOD
from raypipe.report.cells import format_model
from raypipe.report.layout import Book, Row, describe_threat, format_interval
from raypipe.report.names import name_attack
from raypipe.report.scope import describe_attacked_tiles
from raypipe.report.sheet import Cell, Sheet

COUNTED = (
    "A query shows the model one image and returns its answer. The prediction of the unchanged tile is not counted. A "
    "tile counts as fooled after the query that finds an image within the bound that fools the model."
)


def tabulate_queries(book: Book) -> Sheet | None:
    """Return a table of each model's accuracy after some numbers of queries; None if the run has none."""
    if not book.queries:
        return None
    bounds = ", ".join(dict.fromkeys(map(describe_threat, book.queries)))
    table = Sheet(
        f"Accuracy after a number of queries, and its 95 % interval, in %; {bounds}; {describe_attacked_tiles(book)}"
    )
    table.add_columns("model", "attack")
    known = {row["queries"] for row in book.queries}
    shown = [0, *(mark for mark in MARKS if mark in known)]
    shown += [] if max(known) in shown else [max(known)]
    table.add_columns(*(f"{count:,}" for count in shown), figures=True)
    for (subject, _), rows in list_series(book).items():
        by_count = {row["queries"]: row for row in rows}
        name = Cell(name_attack(rows[0]["method"]), below=rows[0]["knowledge"])
        table.add_row(format_model(book, subject), name, *(format_interval(by_count.get(count)) for count in shown))
    table.caption = f"{COUNTED} {METHOD}"
    return table


def list_series(book: Book) -> dict[tuple[str, str], list[Row]]:
    """Return the rows of each curve, by model and attack, in the order of the number of queries."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in book.queries:
        found.setdefault((row["subject"], row["attack"]), []).append(row)
    return found
