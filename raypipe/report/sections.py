"""Sections of a run's results in their order, most important first."""

from collections.abc import Callable, Iterable, Iterator

from raypipe.report.corruptions import corruptions_table
from raypipe.report.details import (
    calibration_table,
    candidates_table,
    cell_costs_table,
    cost_table,
    differences_table,
    distortions_table,
    seeds_table,
    stage_costs_table,
)
from raypipe.report.external import external_classes_table, external_notes, external_table
from raypipe.report.frontier import frontier_table, list_unequal_costs
from raypipe.report.layout import Book
from raypipe.report.overview import overview_notes, overview_table
from raypipe.report.paper_tables import PAPER, STATIC, table_1, table_2, threats
from raypipe.report.queries import queries_table
from raypipe.report.robustness import (
    attacks_table,
    certified_table,
    checks_table,
    clinical_errors_table,
    failures_table,
    robustness_table,
    verdict_lines,
)
from raypipe.report.sheet import Note, Section, Sheet
from raypipe.report.universal import universal_table, universal_transfer_table

OPTIONAL: dict[str, Callable[[Book], Sheet | None]] = {
    "overview": overview_table,
    "attacks": attacks_table,
    "certified": certified_table,
    "corruptions": corruptions_table,
    "external": external_table,
    "external-classes": external_classes_table,
    "universal": universal_table,
    "universal-transfer": universal_transfer_table,
    "queries": queries_table,
    "frontier": frontier_table,
    "checks": checks_table,
    "failures": failures_table,
    "clinical-errors": clinical_errors_table,
    "distortions": distortions_table,
    "calibration": calibration_table,
    "differences": differences_table,
    "seeds": seeds_table,
    "candidates": candidates_table,
    "costs": cost_table,
    "stage-costs": stage_costs_table,
    "cell-costs": cell_costs_table,
}
"""The tables that a run has only if it measured their figures, by name."""
RESERVATIONS: dict[str, Callable[[Book], Iterable[Note]]] = {
    "overview": overview_notes,
    "frontier": list_unequal_costs,
    "external": external_notes,
}
"""Functions that return the notes below a table, by its name."""


def stamps(book: Book) -> tuple[Note, ...]:
    """Return the warnings that must stand next to every table of the run."""
    return tuple(Note(stamp, "bad") for stamp in book.stamps)


def verdicts(book: Book) -> tuple[Note, ...]:
    """Return the notes above all tables: verdicts and warnings."""
    return (*verdict_lines(book), *stamps(book))


def list_sections(book: Book) -> Iterator[tuple[str, Section]]:
    """Yield all tables of a run by name, each with its reservations and warnings."""
    marks = stamps(book)
    yield "robustness", Section(robustness_table(book), marks)
    yield "metrics", Section(table_1(book), (Note(threats(book)), *marks))
    reservations = [threats(book), PAPER]
    reservations += [STATIC] if any(row["defense"] for row in book.records) else []
    yield "paper", Section(table_2(book), (*map(Note, reservations), *marks))
    for name, make in OPTIONAL.items():
        if (sheet := make(book)) is not None:
            yield name, Section(sheet, (*_reservations(name, book), *marks))


def _reservations(name: str, book: Book) -> Iterable[Note]:
    return RESERVATIONS[name](book) if name in RESERVATIONS else ()


def sections(book: Book) -> Iterator[Section]:
    """Yield all tables of a run, each with its reservations and warnings."""
    for _, section in list_sections(book):
        yield section


LEFT_OUT = (
    "Not measured, because they need other models: static evaluation and transfer attacks. A run of an experiment "
    "measures both."
)
OF_ONE = (
    *("overview", "attacks", "corruptions", "external", "external-classes", "queries"),
    *("checks", "failures", "clinical-errors", "distortions", "calibration", "costs"),
)
"""The tables of a model that was evaluated on its own, besides its robustness."""


def list_sections_of_one(book: Book) -> Iterator[tuple[str, Section]]:
    """Yield the tables of a model that was evaluated on its own, by name."""
    marks = stamps(book)
    yield "robustness", Section(robustness_table(book), (Note(LEFT_OUT), *marks))
    for name in OF_ONE:
        if (sheet := OPTIONAL[name](book)) is not None:
            yield name, Section(sheet, (*_reservations(name, book), *marks))


def sections_of_one(book: Book) -> Iterator[Section]:
    """Yield the tables of a model that was evaluated on its own."""
    for _, section in list_sections_of_one(book):
        yield section
