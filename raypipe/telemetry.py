"""Progress that people read: bars on a terminal, plain lines in a job's log."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY_SECONDS = 10.0


@dataclass
class StageProgress:
    """The progress of one stage.

    Parameters
    ----------
    title
        The stage.
    total
        Units of work.
    console
        Where lines go.
    bar
        The live display and its task, on a terminal.
    """

    title: str
    total: int
    console: Console
    bar: tuple[Progress, TaskID] | None
    done: int = 0
    started: float = field(default_factory=time.monotonic)
    last_line: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(f"  {self.title}  {text}", highlight=False, markup=False)

    def advance(self, units: int = 1, note: str = "", line: str = "") -> None:
        """Work has been done; `note` says in passing how it goes, `line` stays."""
        self.done += units
        if line:
            self.say(line)
            self.last_line = time.monotonic()
        if self.bar:
            progress, task = self.bar
            progress.update(task, completed=self.done, note=note)
        elif time.monotonic() - self.last_line >= LINE_EVERY_SECONDS:
            self.last_line = time.monotonic()
            self.say(f"{self.done} of {self.total}, {self.elapsed():.0f} s  {note}".rstrip())

    def elapsed(self) -> float:
        """Seconds since the stage began."""
        return time.monotonic() - self.started


@contextmanager
def stage_progress(console: Console, title: str, total: int, unit: str) -> Iterator[StageProgress]:
    """Show a stage's progress while the block runs; say how long it took at its end."""
    if console.is_terminal:
        columns = (
            TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit),
            TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
        )  # fmt: skip
        with Progress(*columns, console=console, transient=True) as progress:
            stage = StageProgress(title, total, console, (progress, progress.add_task(title, total=total, note="")))
            yield stage
    else:
        stage = StageProgress(title, total, console, None)
        stage.say(f"{total} {unit} to do")
        yield stage
    stage.say(f"{stage.done} {unit} done in {stage.elapsed():.0f} s")
