"""Tables and lines on a plan: how many cells it has, and how many of them are done."""

from collections import Counter
from collections.abc import Mapping

from raypipe.experiment.schema import Experiment
from raypipe.plan.cells import Cell as PlannedCell
from raypipe.plan.cells import find_unfinished
from raypipe.plan.graph import Plan
from raypipe.report.sheet import Cell, Sheet
from raypipe.storage.store import Store

MOST_GROUPS = 24
"""Largest number of rows that fit a screen; a plan with more groups of cells is shown by stage."""


def describe_grid(experiment: Experiment, plan: Plan) -> str:
    """Return the size of an experiment: ``3 models, 3 attacks, 1 defense: 493 cells``."""
    parts = [
        _count(len(experiment.models), "model"),
        _count(len(experiment.attacks), "attack"),
        _count(len(experiment.defenses), "defense"),
    ]
    parts += [_count(len(experiment.tiles.split), "split")] if len(experiment.tiles.split) > 1 else []
    parts += [_count(len(experiment.training_seeds), "seed")] if len(experiment.training_seeds) > 1 else []
    return f"{', '.join(parts)}: {_count(len(plan.cells), 'cell')}"


def describe_classes(name: str, counts: Mapping[str, Mapping[str, int]]) -> str:
    """Return classes with their numbers of files: ``paper split: train benign 6, malignant 5; ...``.

    Parameters
    ----------
    name
        Name of the split, or of an external test set.
    counts
        Numbers of files by side and class.
    """
    sides = (f"{side} " + ", ".join(f"{name} {count:,}" for name, count in by.items()) for side, by in counts.items())
    return f"{name}: {'; '.join(sides)}"


def describe_plan(experiment: Experiment, plan: Plan, store: Store, missing: int) -> str:
    """Return the size of an experiment, and how many of its cells a store has and lacks."""
    done = f"{len(plan.cells) - missing:,} done and {missing:,} to do in {store.root}"
    return f"{experiment.name}: {describe_grid(experiment, plan)}, {done}"


def tabulate_cell_groups(plan: Plan, store: Store) -> Sheet:
    """Return a table of done and missing cells by stage and model, or by stage alone if it would not fit a screen."""
    to_do = {cell.key for cell in find_unfinished(plan.cells, store)}
    by_model = Counter((cell.stage, cell.model) for cell in plan.cells)
    headed = len(by_model) <= MOST_GROUPS

    def group(cell: PlannedCell) -> tuple[str, ...]:
        return (cell.stage, cell.model) if headed else (cell.stage,)

    sheet = Sheet("Cells by stage and model" if headed else "Cells by stage")
    sheet.add_columns("stage", *(["model"] if headed else []))
    sheet.add_columns("cells", "done", "to do", figures=True)
    missing = Counter(group(cell) for cell in plan.cells if cell.key in to_do)
    for name, count in Counter(map(group, plan.cells)).items():
        sheet.add_row(*name, f"{count:,}", f"{count - missing[name]:,}", f"{missing[name]:,}")
    return sheet


def tabulate_cells(plan: Plan, store: Store) -> Sheet:
    """Return a table of every cell with its artifact."""
    sheet = Sheet("Cells")
    sheet.add_columns("stage", "cell", "artifact", "state")
    to_do = {cell.key for cell in find_unfinished(plan.cells, store)}
    for cell in plan.cells:
        state = Cell("to do", tone="warn") if cell.key in to_do else Cell("done", tone="good")
        sheet.add_row(cell.stage, cell.name, f"{cell.kind}/{cell.key}", state)
    return sheet


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
