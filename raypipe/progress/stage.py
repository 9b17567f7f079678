"""The progress of a stage, as its work reports it and as people see it."""

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
    """The progress of one stage: printed lines for people, and a state for a live display.

    Parameters
    ----------
    run
        Name of the run.
    state
        State of the stage.
    console
        Console for the lines. On a terminal a live display shows the state, so intermediate lines are not printed.
    """

    run: str
    state: StageState
    console: Console
    last_line: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Print a line that stays."""
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
        """Record work that was done on a cell.

        Parameters
        ----------
        attacked, fooled, passes
            Counts of an attack, as in `GroupState`; 0 for other work.
        note
            Current figure of the work, shown until the next one replaces it.
        line
            Line that is printed and stays.
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
        """Mark a cell as done, and print a line once all cells of its model are done."""
        group = self._group(cell)
        group.done += 1
        self.state.working = self._others(cell)
        if len(self.state.groups) > 1 and group.done == group.cells:
            done = f"{cell.model}  {group.done} {'cell' if group.done == 1 else 'cells'} done"
            self.say("  ".join(filter(None, (done, figures(group)))))

    def fail(self, *cells: Cell) -> None:
        """Mark cells as failed. The error that ends the stage gives the reason."""
        for cell in cells:
            self._group(cell).failed += 1
            self.state.working = self._others(cell)

    def _group(self, cell: Cell | None) -> GroupState:
        return self.state.groups.setdefault(cell.model if cell else "", GroupState())

    def _others(self, cell: Cell) -> dict[str, str]:
        """Return the running cells except one and its candidates."""
        return {
            name: model
            for name, model in self.state.working.items()
            if name != cell.name and not name.startswith(f"{cell.name}/")
        }


@contextmanager
def stage_progress(
    console: Console, name: str, total: int, unit: str, *, run: RunState | None = None
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
