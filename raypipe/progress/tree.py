"""The state of a run as a tree of stages and cells, for a terminal."""

import time
from collections.abc import Iterator, Sequence

from rich.text import Text
from rich.tree import Tree

from raypipe.progress.state import GroupState, RunState, StageState

MARKS = {"to do": ("·", "dim"), "running": ("▶", "bold"), "done": ("✓", "green"), "failed": ("✗", "bold red")}
CELLS_SHOWN = 6
BAR = 20
"""Width of a stage's bar. `rich.progress` does not draw it, because its tasks live in the process that works, and each
has one speed. Here the state may come from the store, and the time left depends on the attacks to come."""
SILENT_SECONDS = 60.0


def run_tree(state: RunState, height: int | None = None) -> Tree:
    """Return every stage with its cells and its time; the running stage is expanded.

    Parameters
    ----------
    height
        Number of lines available. With few lines, fewer cells are shown, and the stages before and after the running
        one may share a line. Default: any number.
    """
    mark, style = MARKS[state.state]
    title = Text.assemble(
        (f"{mark} ", style), (state.run, "bold"), (f"  {format_duration(_compute_age(state))}", "dim")
    )
    tree = Tree(title, guide_style="dim")
    stages: list[StageState | Text] = list(state.stages)
    room = 2 * CELLS_SHOWN  # at most one line per cell and one for its model
    if height is not None:
        others = 4  # the title, two lines about the running stage, and the number of hidden cells
        if len(stages) + others > height:
            stages = list(_fold(state.stages))
        room = max(0, height - others - len(stages))
    for stage in stages:
        if isinstance(stage, Text):
            tree.add(stage)
            continue
        branch = tree.add(_build_line(stage))
        if stage.state == "running":
            for line in filter(None, (_describe_way(stage), _describe_outcome(stage))):
                branch.add(_build_text(line, "bold"))
            _add_cells(branch, stage, room)
    if state.activity and state.state == "running":
        tree.add(Text(state.activity, "bold"))
    if state.error:
        tree.add(Text(state.error, "red"))
    return tree


def is_silent(state: RunState) -> bool:
    """Return True if a run that has not ended has written no state for at least `SILENT_SECONDS`."""
    return state.state == "running" and time.time() - state.updated >= SILENT_SECONDS


def describe_sign_of_life(state: RunState) -> str:
    """Return the time since a run's driver last wrote its state, and advice if that is long ago."""
    seconds = format_duration(max(0.0, time.time() - state.updated))
    if not is_silent(state):
        return f"Last sign of life from {state.host}: {seconds} ago"
    return (
        f"No sign of life from {state.host} for {seconds}: the run has probably stopped. Run the same command again to "
        "continue: only what is missing is computed."
    )


def format_duration(seconds: float) -> str:
    """Return a duration as ``42 s``, ``3 min 5 s`` or ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def summarize_stage(stage: StageState) -> str:
    """Return the progress of a stage: ``33 of 100 tiles, 12 s, about 24 s left  2.8 tiles/s``, and the figures."""
    return "  ".join(filter(None, (_describe_way(stage), _describe_outcome(stage))))


def describe_figures(group: GroupState) -> str:
    """Return the results and the cost of attacks: ``30 of 31 fooled (97%), 62 passes each``; empty without attacks."""
    if not group.attacked:
        return ""
    rate, each = group.fooled / group.attacked, group.passes / group.attacked
    return f"{group.fooled} of {group.attacked} fooled ({rate:.0%}), {each:.0f} passes each"


def _describe_way(stage: StageState) -> str:
    units, left = int(stage.units), stage.seconds_left
    if not units and not stage.alive and stage.state == "running":
        return f"starting workers, {format_duration(stage.seconds)}"
    parts = [f"{units} of {stage.total} {stage.unit}".rstrip(), format_duration(stage.seconds)]
    parts += [f"about {format_duration(left)} left"] if left is not None else []
    way = ", ".join(parts)
    if not units or not stage.seconds:
        return way
    a_second = units / stage.seconds
    return f"{way}  {a_second:.1f} {stage.unit}/s" if a_second >= 1 else f"{way}  {1 / a_second:.1f} s each"


def _describe_outcome(stage: StageState) -> str:
    return "  ".join(filter(None, (describe_figures(stage.whole), stage.note)))


def _within(stage: StageState, cell: str) -> str:
    """Return how far the shards of a cell that are in work have come: ``12 of 64 tiles``."""
    shards = [shard for shard in stage.in_work.values() if shard.cell == cell]
    if not shards:
        return ""
    return f"{int(sum(shard.tiles for shard in shards))} of {sum(shard.of for shard in shards)} tiles"


def _compute_age(state: RunState) -> float:
    return state.updated - state.started


def _build_text(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _count_cells(number: int) -> str:
    return f"{number} {'cell' if number == 1 else 'cells'}"


def _fold(stages: Sequence[StageState]) -> Iterator[StageState | Text]:
    """Return the stages with those done on one line and those to do on another."""
    done = [stage for stage in stages if stage.state == "done"]
    coming = [stage for stage in stages if stage.state == "to do"]
    if done:
        yield _build_text(f"✓ {', '.join(stage.name for stage in done)}", "green")
    yield from (stage for stage in stages if stage.state in ("running", "failed"))
    if coming:
        yield _build_text(f"· {', '.join(stage.name for stage in coming)}", "dim")


def _build_line(stage: StageState) -> Text:
    mark, style = MARKS[stage.state]
    faint = "dim" if stage.state == "to do" else ""
    whole = stage.whole
    parted = stage.state in ("running", "failed") or 0 < whole.done < whole.cells
    cells = f"{whole.done} of {_count_cells(whole.cells)}" if parted else _count_cells(whole.cells)
    parts = [(f"{mark} ", style), (f"{stage.name:<16}", faint)]
    parts += [(f" {cells}", faint)] if whole.cells else []  # work outside a run may have no cells
    parts += [(f"  {whole.failed} failed", "bold red")] if whole.failed else []
    if stage.state == "running":
        full = BAR * min(int(stage.units), stage.total) // max(1, stage.total)
        parts += [("  " + "━" * full, "green"), ("─" * (BAR - full), "dim")]
    elif stage.state == "done":
        parts.append((f"  {format_duration(stage.seconds) if stage.seconds else 'done before'}", "dim"))
    line = Text.assemble(*parts)
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _add_cells(branch: Tree, stage: StageState, room: int) -> None:
    """Add the most recently updated running cells, below their models if there are several, and the number left."""
    headed = len(stage.groups) > 1
    shown: dict[str, list[str]] = {}
    lines = 0
    for name, model in reversed(stage.working.items()):
        lines += 1 + (headed and model not in shown)
        if lines > room or sum(map(len, shown.values())) == CELLS_SHOWN:
            break
        shown.setdefault(model, []).insert(0, name)
    for model in sorted(shown):
        group = stage.groups[model]
        head = f"{model}  {group.done} of {_count_cells(group.cells)}  {describe_figures(group)}".rstrip()
        below = branch.add(_build_text(head)) if headed else branch
        for name in shown[model]:
            below.add(_build_text(f"{name}  {_within(stage, name)}".rstrip()))
    whole = stage.whole
    if (left := whole.cells - whole.done - whole.failed - sum(map(len, shown.values()))) > 0:
        branch.add(Text(f"{left} more to do", "dim"))
