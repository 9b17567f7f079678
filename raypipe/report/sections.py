"""Sections of a run's results in their order, most important first."""

from collections.abc import Iterator

from raypipe.report.details import (
    calibration_table,
    cell_costs_table,
    cost_table,
    differences_table,
    distortions_table,
    seeds_table,
    stage_costs_table,
)
from raypipe.report.layout import Book
from raypipe.report.paper_tables import PAPER, STATIC, table_1, table_2, threats
from raypipe.report.robustness import (
    attacks_table,
    certified_table,
    checks_table,
    clinical_errors_table,
    failures_table,
    robustness_table,
    verdict_lines,
)
from raypipe.report.sheet import Note, Section


def stamps(book: Book) -> tuple[Note, ...]:
    """Return the warnings that must stand next to every table of the run."""
    return tuple(Note(stamp, "bad") for stamp in book.stamps)


def verdicts(book: Book) -> tuple[Note, ...]:
    """Return the notes above all tables: verdicts and warnings."""
    return (*verdict_lines(book), *stamps(book))


def sections(book: Book) -> Iterator[Section]:
    """Yield all tables of a run, each with its reservations and warnings."""
    marks = stamps(book)
    yield Section(robustness_table(book), marks)
    yield Section(table_1(book), (Note(threats(book)), *marks))
    reservations = [threats(book), PAPER]
    reservations += [STATIC] if any(row["defense"] for row in book.records) else []
    yield Section(table_2(book), (*map(Note, reservations), *marks))
    first = (
        attacks_table,
        certified_table,
        checks_table,
        failures_table,
        clinical_errors_table,
        distortions_table,
        calibration_table,
    )
    for make in (*first, differences_table, seeds_table, cost_table, stage_costs_table, cell_costs_table):
        if (sheet := make(book)) is not None:
            yield Section(sheet, marks)


LEFT_OUT = (
    "Not measured, because they need other models: static evaluation and transfer attacks. A run of an experiment "
    "measures both."
)


def sections_of_one(book: Book) -> Iterator[Section]:
    """Yield the tables of a model that was evaluated on its own."""
    marks = stamps(book)
    yield Section(robustness_table(book), (Note(LEFT_OUT), *marks))
    tables = (
        attacks_table,
        checks_table,
        failures_table,
        clinical_errors_table,
        distortions_table,
        calibration_table,
        cost_table,
    )
    for make in tables:
        if (sheet := make(book)) is not None:
            yield Section(sheet, marks)
