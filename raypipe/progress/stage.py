"""The progress of a stage, as its work reports it and as people see it."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

from rich.console import Console
from rich.live import Live

from raypipe.plan.cells import Cell
from raypipe.progress.pace import Kind, Pace, get_kind
from raypipe.progress.shards import ShardState
from raypipe.progress.state import GroupState, RunState, StageState
from raypipe.progress.tree import describe_figures, format_duration, run_tree, summarize_stage
from raypipe.storage.store import Store

Detail = Literal["quiet", "normal", "verbose"]
"""Amount of text: ``quiet`` shows no progress, and ``verbose`` has a line for every epoch and every finished model."""
LINE_EVERY_SECONDS = 10.0
CELLS_REMEMBERED = 50


def describe_stage(name: str, cells: Iterable[Cell], missing: Iterable[Cell]) -> StageState:
    """Return the state of a stage before it begins; all of its cells that are not `missing` count as done."""
    groups: dict[str, GroupState] = {}
    to_do = {cell.key for cell in missing}
    for cell in cells:
        group = groups.setdefault(cell.model, GroupState())
        group.cells += 1
        group.done += cell.key not in to_do
    complete = all(group.done == group.cells for group in groups.values())
    return StageState(name=name, groups=groups, state="done" if complete else "to do")


def do_nothing() -> None:
    """Do nothing with a change of the state."""


@dataclass
class StageProgress:
    """The progress of one stage: printed lines for people, and a state for a live display.

    Parameters
    ----------
    run
        Name of the run.
    state
        State of the stage.
    console
        Console for the lines. On a terminal a live display shows the state, so intermediate lines are not printed.
    detail
        Amount of text.
    pace
        Work left and times known, for the estimate of the time left.
    workers
        Largest number of workers seen at once.
    kinds
        Kinds of work of the cells that had a shard in work, by name.
    observe
        Called each time the state has changed.
    reported
        Names of the shards whose results are counted.
    """

    run: str
    state: StageState
    console: Console
    detail: Detail = "normal"
    pace: Pace = field(default_factory=Pace)
    workers: int = 1
    kinds: dict[str, Kind] = field(default_factory=dict)
    last_line: float = field(default_factory=time.monotonic)
    observe: Callable[[], None] = do_nothing
    reported: set[str] = field(default_factory=set)

    def say(self, text: str) -> None:
        """Print a line that stays, unless no text is wanted."""
        if self.detail == "quiet":
            return
        self.console.print(f"  {self.state.name}  {text}", highlight=False, markup=False, soft_wrap=True)
        self.last_line = time.monotonic()

    def advance(
        self,
        units: int = 1,
        cell: Cell | None = None,
        *,
        attacked: int = 0,
        fooled: int = 0,
        passes: int = 0,
        seconds: float = 0.0,
        note: str = "",
        line: str = "",
    ) -> None:
        """Record work that was done on a cell.

        Parameters
        ----------
        attacked, fooled, passes
            Counts of an attack, as in `GroupState`; 0 for other work.
        seconds
            Seconds of the worker, from which the time left is estimated.
        note
            Current figure of the work, shown until the next one replaces it.
        line
            Line about the work, which a verbose display prints.
        """
        state, group = self.state, self._group(cell)
        group.units += units
        group.attacked += attacked
        group.fooled += fooled
        group.passes += passes
        state.alive, state.seconds = True, time.time() - state.began
        state.note = note or state.note
        if cell and self.pace.left:
            kind = get_kind(cell)
            self.pace.left[kind] -= units
            self.pace.learn(kind, units, seconds)
            self._estimate()
        if cell:
            touched = [*self._find_others(cell).items(), (cell.name, cell.model)]
            state.working = dict(touched[-CELLS_REMEMBERED:])
        if line and self.detail == "verbose":
            self.say(line)
        else:
            self._say_now_and_then(line or "  ".join(filter(None, (summarize_stage(state), cell.name if cell else ""))))
        self.observe()

    def expect(self, cells: Sequence[Cell], tiles: Sequence[int], forecast: Mapping[str, float]) -> None:
        """Take in the work of the stage, for the estimate of the time left.

        Parameters
        ----------
        cells, tiles
            Cells to do, and the number of tiles of each.
        forecast
            Forecast seconds of cells, by key: see `raypipe.progress.pace.read_forecast`.
        """
        for cell, count in zip(cells, tiles, strict=True):
            self.pace.left[get_kind(cell)] += count
            if count and cell.key in forecast:
                self.pace.forecast[get_kind(cell)] = forecast[cell.key] / count

    def learn_from(self, cells: Sequence[Cell], store: Store) -> None:
        """Learn the times of attacks from finished cells."""
        for cell, manifest in zip(cells, store.ask_all(lambda cell: cell.manifest(store), cells), strict=True):
            if manifest and "cost" in manifest:
                self.pace.learn(get_kind(cell), manifest.get("tiles", 0), manifest["cost"]["seconds"])

    def leave_shard(self, name: str) -> None:
        """Stop showing a shard, because its result is counted now."""
        self.reported.add(name)
        self.state.in_work.pop(name, None)

    def show_shards(self, shards: Mapping[str, ShardState], cells: Mapping[str, Cell]) -> None:
        """Show the shards in work, and those that left it without a result so far: it is on its way.

        Parameters
        ----------
        shards
            States of those in work, by name. None if the stage is over.
        cells
            Cells of the stage, by name.
        """
        state = self.state
        waiting = state.in_work if shards else {}
        state.in_work = {name: shard for name, shard in {**waiting, **shards}.items() if name not in self.reported}
        state.alive = state.alive or bool(shards)
        names = {shard.cell: cells[shard.cell].model for shard in shards.values() if shard.cell in cells}
        for name in names:
            self._group(cells[name])
        state.working = dict([*state.working.items(), *names.items()][-CELLS_REMEMBERED:])
        self.workers = max(self.workers, len(shards))
        self.kinds |= {name: get_kind(cells[name]) for name in names}
        self._estimate()
        if shards:
            state.seconds = time.time() - state.began
            self._say_now_and_then(summarize_stage(state))

    def _estimate(self) -> None:
        shards = [(self.kinds[shard.cell], shard) for shard in self.state.in_work.values() if shard.cell in self.kinds]
        self.state.left = self.pace.seconds_left(shards, self.workers) if self.pace.left else None

    def _say_now_and_then(self, line: str) -> None:
        """Print a line in a log, unless the last one is a few seconds old."""
        if not self.console.is_terminal and time.monotonic() - self.last_line >= LINE_EVERY_SECONDS:
            self.say(line)

    def finish(self, cell: Cell) -> None:
        """Mark a cell as done, and print a line once all cells of its model are done."""
        group = self._group(cell)
        group.done += 1
        self.state.working = self._find_others(cell)
        if len(self.state.groups) > 1 and group.done == group.cells and self.detail == "verbose":
            done = f"{cell.model}  {group.done} {'cell' if group.done == 1 else 'cells'} done"
            self.say("  ".join(filter(None, (done, describe_figures(group)))))
        self.observe()

    def fail(self, *cells: Cell) -> None:
        """Mark cells as failed. The error that ends the stage gives the reason."""
        for cell in cells:
            self._group(cell).failed += 1
            self.state.working = self._find_others(cell)

    def _group(self, cell: Cell | None) -> GroupState:
        return self.state.groups.setdefault(cell.model if cell else "", GroupState())

    def _find_others(self, cell: Cell) -> dict[str, str]:
        """Return the running cells except one and its candidates."""
        return {
            name: model
            for name, model in self.state.working.items()
            if name != cell.name and not name.startswith(f"{cell.name}/")
        }


@contextmanager
def stage_progress(
    console: Console,
    name: str,
    total: int,
    unit: str,
    *,
    run: RunState | None = None,
    detail: Detail = "normal",
    observe: Callable[[], None] = do_nothing,
) -> Iterator[StageProgress]:
    """Show a stage's progress while the block runs, and print its duration and its figures at the end.

    Parameters
    ----------
    console
        Console for the lines, or for a live display on a terminal.
    name, total, unit
        Name of the stage, amount of work, and its unit, such as tiles.
    run
        State of the run that the stage belongs to, which another display shows. Default: the stage is shown alone.
    detail
        Amount of text.
    observe
        Called each time the state of the stage has changed.

    Raises
    ------
    StopIteration
        If the run has no such stage.
    """
    whole = run or RunState(run=name, stages=[StageState(name=name)])
    state = next(stage for stage in whole.stages if stage.name == name)
    state.state, state.total, state.unit, state.began = "running", total, unit, time.time()
    stage = StageProgress(whole.run, state, console, detail, observe=observe)
    observe()
    if not console.is_terminal:
        stage.say(f"{total} {unit} to do")
    live = Live(
        get_renderable=lambda: run_tree(whole, console.height), console=console, transient=True, refresh_per_second=4
    )
    try:
        with live if console.is_terminal and run is None and detail != "quiet" else nullcontext():
            yield stage
    except BaseException:
        state.state = "failed"
        raise
    state.state, state.seconds = "done", time.time() - state.began
    observe()
    done = state.whole
    stage.say(
        "  ".join(
            filter(None, (f"{done.units} {unit} done in {format_duration(state.seconds)}", describe_figures(done)))
        )
    )
