"""The progress of a stage: what its work reports, and whoever watches sees."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live

from raypipe.plan.cells import Cell
from raypipe.progress.state import GroupState, RunState, StageState
from raypipe.progress.tree import duration, figures, run_tree, summary

LINE_EVERY_SECONDS = 10.0
CELLS_REMEMBERED = 50


@dataclass
class StageProgress:
    """The progress of one stage: lines for people, and a state for those who draw it.

    Parameters
    ----------
    run
        The name of the run.
    state
        What is known of the stage.
    console
        Where lines go. On a terminal something draws the state, so that it gets no lines in passing.
    """

    run: str
    state: StageState
    console: Console
    last_line: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """A line that stays."""
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
        note: str = "",
        line: str = "",
    ) -> None:
        """Work has been done on a cell.

        Parameters
        ----------
        attacked, fooled, passes
            If it was an attack, as in `GroupState`.
        note
            How it goes, in passing.
        line
            What stays.
        """
        state, group = self.state, self._group(cell)
        group.units += units
        group.attacked += attacked
        group.fooled += fooled
        group.passes += passes
        state.seconds = time.time() - state.began
        state.note = note or state.note
        if cell:
            touched = [*self._others(cell).items(), (cell.name, cell.model)]
            state.working = dict(touched[-CELLS_REMEMBERED:])
        if line:
            self.say(line)
        elif not self.console.is_terminal and time.monotonic() - self.last_line >= LINE_EVERY_SECONDS:
            self.say("  ".join(filter(None, (summary(state), cell.name if cell else ""))))

    def finish(self, cell: Cell) -> None:
        """A cell is done; say so once all cells of its model are."""
        group = self._group(cell)
        group.done += 1
        self.state.working = self._others(cell)
        if len(self.state.groups) > 1 and group.done == group.cells:
            done = f"{cell.model}  {group.done} {'cell' if group.done == 1 else 'cells'} done"
            self.say("  ".join(filter(None, (done, figures(group)))))

    def fail(self, *cells: Cell) -> None:
        """Cells have failed; the error that ends the stage says why."""
        for cell in cells:
            self._group(cell).failed += 1
            self.state.working = self._others(cell)

    def _group(self, cell: Cell | None) -> GroupState:
        return self.state.groups.setdefault(cell.model if cell else "", GroupState())

    def _others(self, cell: Cell) -> dict[str, str]:
        """Cells in work besides one and the candidates that it chooses from."""
        return {
            name: model
            for name, model in self.state.working.items()
            if name != cell.name and not name.startswith(f"{cell.name}/")
        }


@contextmanager
def stage_progress(
    console: Console, name: str, total: int, unit: str, *, run: RunState | None = None
) -> Iterator[StageProgress]:
    """Show a stage's progress while the block runs; say at its end how long it took and what came out.

    Parameters
    ----------
    console
        Where lines go, or, on a terminal, a live display.
    name, total, unit
        What is done, and how much of what is to do.
    run
        That the stage is one of, and that somebody else draws; default: it stands alone.

    Raises
    ------
    StopIteration
        If the run has no such stage.
    """
    whole = run or RunState(run=name, stages=[StageState(name=name)])
    state = next(stage for stage in whole.stages if stage.name == name)
    state.state, state.total, state.unit, state.began = "running", total, unit, time.time()
    stage = StageProgress(whole.run, state, console)
    if not console.is_terminal:
        stage.say(f"{total} {unit} to do")
    drawn = Live(
        get_renderable=lambda: run_tree(whole, console.height), console=console, transient=True, refresh_per_second=4
    )
    try:
        with drawn if console.is_terminal and run is None else nullcontext():
            yield stage
    except BaseException:
        state.state = "failed"
        raise
    state.state, state.seconds = "done", time.time() - state.began
    done = state.whole
    stage.say("  ".join(filter(None, (f"{done.units} {unit} done in {duration(state.seconds)}", figures(done)))))
