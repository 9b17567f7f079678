"""A plan, and all tables of a run's results, for a terminal or a log."""

from collections import Counter
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from raypipe.config import Experiment
from raypipe.evaluation.results import RunResult
from raypipe.plan import Plan
from raypipe.report.details import calibration_table, cost_table, differences_table, distortions_table, seeds_table
from raypipe.report.layout import Book, titled
from raypipe.report.paper_tables import PAPER, STATIC, table_1, table_2, threats
from raypipe.report.robustness import (
    attacks_table,
    checks_table,
    failures_table,
    medicine_table,
    robustness_table,
    verdict_lines,
)
from raypipe.store import Store


def plan_table(experiment: Experiment, plan: Plan, store: Store) -> RenderableType:
    """What is done and what is to do, by stage."""
    table = titled(f"{experiment.name}: {len(plan.cells)} cells in {store.root}")
    for heading in ("stage", "cells", "done", "to do"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    done = Counter(cell.stage for cell in plan.cells if cell.manifest(store))
    for stage, count in Counter(cell.stage for cell in plan.cells).items():
        table.add_row(stage, str(count), str(done[stage]), str(count - done[stage]))
    return table


def cells_table(plan: Plan, store: Store) -> RenderableType:
    """Every cell with its artifact."""
    table = titled("Cells")
    for heading in ("stage", "cell", "artifact", "state"):
        table.add_column(heading, overflow="fold")
    for cell in plan.cells:
        state = Text("done", "green") if cell.manifest(store) else Text("to do", "yellow")
        table.add_row(cell.stage, cell.name, f"{cell.kind}/{cell.key}", state)
    return table


def result_tables(result: RunResult) -> Iterator[RenderableType]:
    """All tables of a run, each with the stamps that belong to its figures; what must be known first comes first."""
    book = Book.of(result)
    marks = [Text(stamp, "bold red") for stamp in book.stamps]
    yield Group(*verdict_lines(book), *marks)
    yield Group(robustness_table(book), *marks)
    yield Group(table_1(book), Text(threats(book), "italic"), *marks)
    reservations = [threats(book), PAPER]
    reservations += [STATIC] if any(row["defense"] for row in book.records) else []
    yield Group(table_2(book), *(Text(text, "italic") for text in reservations), *marks)
    first = (attacks_table, checks_table, failures_table, medicine_table, distortions_table, calibration_table)
    for make in (*first, differences_table, seeds_table, cost_table):
        if (table := make(book)) is not None:
            yield Group(table, *marks)
