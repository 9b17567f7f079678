"""A plan, and the paper's Tables 1 and 2, as tables for a terminal or a log."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from raypipe.config import Experiment
from raypipe.evaluation.records import COLUMNS
from raypipe.plan import Plan
from raypipe.report.paper import reported
from raypipe.store import Store

TITLES = {
    "normal": "normal",
    "attacked": "attacked",
    "robust_on_normal": "robust on normal",
    "robust_on_perturbed": "robust on perturbed",
}
STATIC = (
    "Accuracy in %, as published: 'robust on perturbed' is a static evaluation, the perturbed tiles were made against the "
    "model before it was hardened. The hardened models were not attacked themselves: this column is no measure of "
    "robustness. 'paper' is what Nisa et al. (2024) report for LC25000 with a random split."
)


def plan_table(experiment: Experiment, plan: Plan, store: Store) -> RenderableType:
    """What is done and what is to do, by stage."""
    table = Table(title=f"{experiment.name}: {len(plan.cells)} cells in {store.root}", title_justify="left")
    for heading in ("stage", "cells", "done", "to do"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    done = Counter(cell.stage for cell in plan.cells if cell.manifest(store))
    for stage, count in Counter(cell.stage for cell in plan.cells).items():
        table.add_row(stage, str(count), str(done[stage]), str(count - done[stage]))
    return table


def cells_table(plan: Plan, store: Store) -> RenderableType:
    """Every cell with its artifact."""
    table = Table(title="cells", title_justify="left")
    for heading in ("stage", "cell", "artifact", "state"):
        table.add_column(heading, overflow="fold")
    for cell in plan.cells:
        state = Text("done", "green") if cell.manifest(store) else Text("to do", "yellow")
        table.add_row(cell.stage, cell.name, f"{cell.kind}/{cell.key}", state)
    return table


def result_tables(records: pa.Table) -> Iterator[RenderableType]:
    """Tables 1 and 2 under the stamps that belong to their figures."""
    rows = records.to_pylist()
    stamped = sorted({stamp for row in rows for stamp in row["stamps"]})
    yield Group(*(Panel(Text(stamp, "bold red"), border_style="red", expand=False) for stamp in stamped), table_1(rows))
    yield Group(table_2(rows), Text(STATIC, "italic"), *(Text(stamp, "bold red") for stamp in stamped))


def table_1(rows: list[dict[str, Any]]) -> Table:
    """Precision, recall, F1 of each label and accuracy, of every backbone at every stage of the paper's protocol."""
    table = Table(title="Table 1. Precision / recall / F1 (%) of each label, and accuracy (%)", title_justify="left")
    for heading in ("model", "tested on"):
        table.add_column(heading)
    for label in rows[0]["labels"]:
        table.add_column(label, justify="right")
    table.add_column("accuracy", justify="right")
    table.add_column("paper", justify="right", style="dim")
    table.add_column("tiles", justify="right")
    shown = set()
    model = None
    for row in sorted(rows, key=lambda row: (row["model"], COLUMNS.index(row["column"]))):
        if row["predictions_key"] in shown:
            continue
        shown.add(row["predictions_key"])
        if model not in (None, row["model"]):
            table.add_section()
        model = row["model"]
        by_label = zip(row["precision"], row["recall"], row["f1"], strict=True)
        table.add_row(
            row["model"],
            _tested_on(row),
            *(f"{p:.0%} {r:.0%} {f:.0%}".replace("%", "") for p, r, f in by_label),
            _percent(row["accuracy"]),
            _paper(row),
            str(row["tiles"]),
        )
    return table


def table_2(rows: list[dict[str, Any]]) -> Table:
    """The four accuracies of every (backbone, attack, defense), each beside the paper's."""
    columns = [column for column in COLUMNS if any(row["column"] == column for row in rows)]
    table = Table(
        title="Table 2. Accuracy (%) before and after hardening, measured and as the paper reports",
        title_justify="left",
    )
    for heading in ("model", "attack", "defense"):
        table.add_column(heading)
    for column in columns:
        table.add_column(TITLES[column], justify="right")
        table.add_column("paper", justify="right", style="dim")
    cells: dict[tuple[str, str, str | None], dict[str, dict[str, Any]]] = {}
    for row in rows:
        cells.setdefault((row["model"], row["attack"], row["defense"]), {})[row["column"]] = row
    model = None
    for (name, attack, defense), by_column in cells.items():
        if model not in (None, name):
            table.add_section()
        model = name
        figures = [
            text for column in columns for text in (_percent(by_column[column]["accuracy"]), _paper(by_column[column]))
        ]
        table.add_row(name, attack, defense or "none", *figures)
    return table


def _tested_on(row: dict[str, Any]) -> str:
    match row["column"]:
        case "normal":
            return "clean tiles"
        case "attacked":
            return row["attack"]
        case "robust_on_normal":
            return f"clean tiles, after {row['defense']} on {row['attack']}"
        case _:
            return f"{row['attack']}, after {row['defense']} on it (static)"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _paper(row: dict[str, Any]) -> str:
    return reported(row["column"], row["backbone"], row["method"], row["defense"]) or "-"
