"""The progress of a stage: what its work reports, and whoever watches sees."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live

from raypipe.telemetry.state import RunState, StageState
from raypipe.telemetry.tree import duration, run_tree, summary

LINE_EVERY_SECONDS = 10.0
CELLS_REMEMBERED = 50


@dataclass
class StageProgress:
    """The progress of one stage: plain lines for a log, and a state for those who draw it.

    Parameters
    ----------
    state
        What is known of it.
    console
        Where lines go.
    lines
        Whether lines in passing go there too: not where something draws the state.
    """

    state: StageState
    console: Console
    lines: bool = True
    started: float = field(default_factory=time.monotonic)
    last_line: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(f"  {self.state.name}  {text}", highlight=False, markup=False)
        self.last_line = time.monotonic()

    def advance(self, units: int = 1, note: str = "", *, cell: str = "", line: str = "") -> None:
        """Work has been done on a cell; `note` says in passing how it goes, `line` stays."""
        state = self.state
        state.units += units
        state.seconds = self.elapsed()
        state.note = note or state.note
        if cell:
            state.working = [*(name for name in state.working if name != cell), cell][-CELLS_REMEMBERED:]
        if line:
            self.say(line)
        elif self.lines and time.monotonic() - self.last_line >= LINE_EVERY_SECONDS:
            self.say("  ".join(filter(None, (summary(state), cell))))

    def finish(self, cell: str, line: str = "") -> None:
        """A cell is done."""
        state = self.state
        state.cells_done += 1
        state.working = [name for name in state.working if name != cell]
        if line:
            self.say(line)

    def elapsed(self) -> float:
        """Seconds since the stage began."""
        return time.monotonic() - self.started


@contextmanager
def stage_progress(
    console: Console, title: str, total: int, unit: str, *, of: StageState | None = None, drawn: bool = False
) -> Iterator[StageProgress]:
    """Show a stage's progress while the block runs; say how long it took at its end.

    Parameters
    ----------
    console
        Where lines go, or, on a terminal, a live display.
    title, total, unit
        What is done, and how much of what is to do.
    of
        The stage's place in a run's state; default: it stands alone.
    drawn
        Whether somebody else draws that state.
    """
    state = of or StageState(name=title, cells=1, cells_done=0)
    state.state, state.total, state.unit = "running", total, unit
    stage = StageProgress(state, console, lines=not drawn and not console.is_terminal)
    if not console.is_terminal:
        stage.say(f"{total} {unit} to do")
    try:
        if console.is_terminal and not drawn:
            alone = RunState(run=title, stages=[state])
            with Live(get_renderable=lambda: run_tree(alone), console=console, transient=True, refresh_per_second=4):
                yield stage
        else:
            yield stage
    except BaseException:
        state.state = "failed"
        raise
    state.state, state.seconds = "done", stage.elapsed()
    stage.say(f"{state.units} {unit} done in {duration(state.seconds)}")
