"""A plan, and the paper's Tables 1 and 2, as tables for a terminal or a log."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raypipe.config import Experiment
from raypipe.evaluation.records import COLUMNS
from raypipe.plan import Plan
from raypipe.report.paper import reported
from raypipe.store import Store

HEADINGS = {
    "normal": "normal",
    "attacked": "attacked",
    "robust_on_normal": "robust on\nnormal",
    "robust_on_perturbed": "robust on\nperturbed",
}
PAPER = "In parentheses what Nisa et al. (2024) report, for LC25000 with a random split; - where it cannot be read."
STATIC = (
    "'Robust on perturbed' is a static evaluation: the perturbed tiles were made against the model before it was "
    "hardened. The hardened models were not attacked themselves, so this column is no measure of robustness."
)


def plan_table(experiment: Experiment, plan: Plan, store: Store) -> RenderableType:
    """What is done and what is to do, by stage."""
    table = _table(f"{experiment.name}: {len(plan.cells)} cells in {store.root}")
    for heading in ("stage", "cells", "done", "to do"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    done = Counter(cell.stage for cell in plan.cells if cell.manifest(store))
    for stage, count in Counter(cell.stage for cell in plan.cells).items():
        table.add_row(stage, str(count), str(done[stage]), str(count - done[stage]))
    return table


def cells_table(plan: Plan, store: Store) -> RenderableType:
    """Every cell with its artifact."""
    table = _table("Cells")
    for heading in ("stage", "cell", "artifact", "state"):
        table.add_column(heading, overflow="fold")
    for cell in plan.cells:
        state = Text("done", "green") if cell.manifest(store) else Text("to do", "yellow")
        table.add_row(cell.stage, cell.name, f"{cell.kind}/{cell.key}", state)
    return table


def result_tables(records: pa.Table) -> Iterator[RenderableType]:
    """Tables 1 and 2, each with the stamps and reservations that belong to its figures."""
    rows = records.to_pylist()
    marks = [Text(stamp, "bold red") for stamp in sorted({stamp for row in rows for stamp in row["stamps"]})]
    yield Group(table_1(rows), *marks)
    reservations = [PAPER, STATIC] if any(row["defense"] for row in rows) else [PAPER]
    yield Group(table_2(rows), *(Text(text, "italic") for text in reservations), *marks)


def table_1(rows: list[dict[str, Any]]) -> Table:
    """Precision, recall and F1 of each label, and accuracy, of every model at every stage of the paper's protocol."""
    table = _table("Table 1. Precision, recall, F1 of each label and accuracy, in %")
    for heading in ("model", "tested on", "hardened with"):
        table.add_column(heading, overflow="fold")
    for label in rows[0]["labels"]:
        table.add_column(label, justify="right")
    for heading in ("accuracy", "tiles"):
        table.add_column(heading, justify="right")
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        first.setdefault(row["predictions_key"], row)  # the same predictions serve several cells of the grid
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in first.values() if row["model"] == model]
        for row in sorted(own, key=lambda row: COLUMNS.index(row["column"])):
            scores = zip(row["precision"], row["recall"], row["f1"], strict=True)
            table.add_row(
                model,
                "clean tiles" if row["column"] in ("normal", "robust_on_normal") else row["attack"],
                row["attack"] if row["column"].startswith("robust") else "-",
                *(" ".join(f"{100 * score:.0f}" for score in label) for label in scores),
                f"{100 * row['accuracy']:.1f}",
                str(row["tiles"]),
            )
        table.add_section()
    return table


def table_2(rows: list[dict[str, Any]]) -> Table:
    """The four accuracies of every (model, attack, defense), each with the paper's in parentheses."""
    columns = [column for column in COLUMNS if any(row["column"] == column for row in rows)]
    table = _table("Table 2. Accuracy before and after hardening, in % (paper's)")
    for heading in ("model", "attack", "defense"):
        table.add_column(heading, overflow="fold")
    for column in columns:
        table.add_column(HEADINGS[column], justify="right", no_wrap=True)
    cells: dict[tuple[str, str, str | None], dict[str, dict[str, Any]]] = {}
    for row in rows:
        cells.setdefault((row["model"], row["attack"], row["defense"]), {})[row["column"]] = row
    for model in dict.fromkeys(row["model"] for row in rows):
        for (name, attack, defense), by_column in cells.items():
            if name == model:
                table.add_row(name, attack, defense or "-", *(_beside_paper(by_column[column]) for column in columns))
        table.add_section()
    return table


def _beside_paper(row: dict[str, Any]) -> Text:
    paper = reported(row["column"], row["backbone"], row["method"], row["defense"]) or "-"
    return Text.assemble(f"{100 * row['accuracy']:.1f} ", (f"({paper})", "dim"))


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
