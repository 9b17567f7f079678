"""Sections of a run's results in their order, most important first."""

from collections.abc import Callable, Iterable, Iterator

from raypipe.evaluation.results.run import GIVEN
from raypipe.report.corruptions import tabulate_corruptions
from raypipe.report.details import (
    tabulate_attack_costs,
    tabulate_calibration,
    tabulate_candidates,
    tabulate_cell_costs,
    tabulate_differences,
    tabulate_distortions,
    tabulate_seeds,
    tabulate_stage_costs,
)
from raypipe.report.external import list_external_reservations, tabulate_external, tabulate_external_classes
from raypipe.report.frontier import list_unequal_costs, tabulate_frontier
from raypipe.report.layout import Book
from raypipe.report.overview import describe_hardened, tabulate_overview, tabulate_overview_differences
from raypipe.report.paper_tables import PAPER, STATIC, build_table_1, build_table_2, describe_threats
from raypipe.report.queries import tabulate_queries
from raypipe.report.robustness import (
    list_verdicts,
    tabulate_attacks,
    tabulate_certified,
    tabulate_checks,
    tabulate_clinical_errors,
    tabulate_failures,
    tabulate_robustness,
)
from raypipe.report.sheet import Note, Section, Sheet
from raypipe.report.universal import tabulate_universal, tabulate_universal_transfer

OPTIONAL: dict[str, Callable[[Book], Sheet | None]] = {
    "overview": tabulate_overview,
    "overview-differences": tabulate_overview_differences,
    "attacks": tabulate_attacks,
    "certified": tabulate_certified,
    "corruptions": tabulate_corruptions,
    "external": tabulate_external,
    "external-classes": tabulate_external_classes,
    "universal": tabulate_universal,
    "universal-transfer": tabulate_universal_transfer,
    "queries": tabulate_queries,
    "frontier": tabulate_frontier,
    "checks": tabulate_checks,
    "failures": tabulate_failures,
    "clinical-errors": tabulate_clinical_errors,
    "distortions": tabulate_distortions,
    "calibration": tabulate_calibration,
    "differences": tabulate_differences,
    "seeds": tabulate_seeds,
    "candidates": tabulate_candidates,
    "costs": tabulate_attack_costs,
    "stage-costs": tabulate_stage_costs,
    "cell-costs": tabulate_cell_costs,
}
"""The tables that a run has only if it measured their figures, by name."""
RESERVATIONS: dict[str, Callable[[Book], Iterable[Note]]] = {
    "overview": describe_hardened,
    "frontier": list_unequal_costs,
    "external": list_external_reservations,
}
"""Functions that return the notes below a table, by its name."""


def list_stamps(book: Book) -> tuple[Note, ...]:
    """Return the warnings that must stand next to every table of the run."""
    return tuple(Note(stamp, "bad") for stamp in book.stamps)


def list_warnings(book: Book) -> tuple[Note, ...]:
    """Return the notes above all tables: verdicts and warnings."""
    return (*list_verdicts(book), *list_stamps(book))


LEFT_OUT = (
    "Not measured, because they need other models: static evaluation and transfer attacks. A run of an experiment "
    "measures both."
)


def list_sections(book: Book) -> Iterator[tuple[str, Section]]:
    """Yield all tables of a run by name, each with its reservations and warnings."""
    marks = list_stamps(book)
    evaluated_alone = all(row["split"] == GIVEN for row in book.subjects.values())
    yield "robustness", Section(tabulate_robustness(book), (*([Note(LEFT_OUT)] if evaluated_alone else []), *marks))
    if not evaluated_alone:
        yield from _tabulate_paper(book, marks)
    for name, make in OPTIONAL.items():
        if (sheet := make(book)) is not None:
            yield name, Section(sheet, (*_list_reservations(name, book), *marks))


def _tabulate_paper(book: Book, marks: tuple[Note, ...]) -> Iterator[tuple[str, Section]]:
    yield "metrics", Section(build_table_1(book), (Note(describe_threats(book)), *marks))
    reservations = [describe_threats(book), PAPER]
    reservations += [STATIC] if any(row["defense"] for row in book.records) else []
    yield "paper", Section(build_table_2(book), (*map(Note, reservations), *marks))


def _list_reservations(name: str, book: Book) -> Iterable[Note]:
    return RESERVATIONS[name](book) if name in RESERVATIONS else ()
