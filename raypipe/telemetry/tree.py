"""The state of a run as a tree of stages and cells, for a terminal."""

import time

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from raypipe.telemetry.state import RunState, StageState

MARKS = {"to do": ("·", "dim"), "running": ("▶", "bold"), "done": ("✓", "green"), "failed": ("✗", "bold red")}
CELLS_SHOWN = 6
BAR = 20
SILENT_SECONDS = 60.0


def run_tree(state: RunState) -> Tree:
    """Every stage with its cells and its time; the one in work opened."""
    mark, style = MARKS[state.state]
    title = Text.assemble((f"{mark} ", style), (state.run, "bold"), (f"  {duration(_age(state))}", "dim"))
    tree = Tree(title, guide_style="dim")
    for stage in state.stages:
        branch = tree.add(_line(stage))
        if stage.state == "running":
            branch.add(Text(summary(stage), "bold", no_wrap=True, overflow="ellipsis"))
            for cell in stage.working[-CELLS_SHOWN:]:
                branch.add(Text(cell, no_wrap=True, overflow="ellipsis"))
            waiting = stage.cells - stage.cells_done - len(stage.working[-CELLS_SHOWN:])
            if waiting > 0:
                branch.add(Text(f"{waiting} more to do", "dim"))
    if state.error:
        tree.add(Text(state.error, "red"))
    return tree


def silence(state: RunState) -> str:
    """That a run's driver has shown no sign of life for long, and what to do; nothing if it has."""
    seconds = time.time() - state.updated
    if state.state != "running" or seconds < SILENT_SECONDS:
        return ""
    return (
        f"No sign of life from {state.host} for {duration(seconds)}: the run was probably stopped there. Start it "
        "again with the same file: it goes on from what is done."
    )


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def summary(stage: StageState) -> str:
    """What is done, how fast, and how long it will take: ``33 of 100 tiles, 12 s, about 24 s left  8.1 images/s``."""
    left = stage.seconds_left
    parts = [f"{stage.units} of {stage.total} {stage.unit}".rstrip(), duration(stage.seconds)]
    parts += [f"about {duration(left)} left"] if left is not None else []
    return f"{', '.join(parts)}  {stage.note}".rstrip()


def _age(state: RunState) -> float:
    return (time.time() if state.state == "running" else state.updated) - state.started


def _line(stage: StageState) -> Table:
    mark, style = MARKS[stage.state]
    faint = "dim" if stage.state == "to do" else ""
    cells = f"{stage.cells_done} of {stage.cells}" if stage.state == "running" else str(stage.cells)
    line = Table.grid(padding=(0, 1))
    parts: list[Text | ProgressBar] = [
        Text(mark, style),
        Text(f"{stage.name:<16}", faint),
        Text(f"{cells} {'cell' if stage.cells == 1 else 'cells'}", faint),
    ]
    if stage.state == "running":
        parts.append(ProgressBar(total=max(1, stage.total), completed=stage.units, width=BAR))
    elif stage.state == "done" and stage.seconds:
        parts.append(Text(duration(stage.seconds), "dim"))
    elif stage.state == "done":
        parts.append(Text("done before", "dim"))
    for _ in parts:
        line.add_column(no_wrap=True, overflow="ellipsis")
    line.add_row(*parts)
    return line
