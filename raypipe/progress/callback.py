"""The progress of a run for Python: a record that is given to a function each time something is done."""

from collections.abc import Callable
from dataclasses import dataclass

from raypipe.progress.state import RunState, State


@dataclass(frozen=True)
class Progress:
    """The progress of a run at one moment.

    Parameters
    ----------
    run
        Name of the run.
    state
        State of the run: running, done or failed.
    stage
        Name of the stage in work; empty between stages.
    done, total, unit
        Amount of work done in the stage, amount in total, and its unit, such as tiles or epochs.
    cells_done, cells
        Number of finished cells of the whole run, and number of all cells.
    seconds_left
        Estimated seconds until the stage ends; None if there is no pace yet.
    activity
        Work besides the stages, such as drawing the report.
    """

    run: str
    state: State
    stage: str
    done: float
    total: int
    unit: str
    cells_done: int
    cells: int
    seconds_left: float | None
    activity: str

    @property
    def fraction(self) -> float:
        """Finished share of the cells of the run, from 0 to 1."""
        return 1.0 if self.state == "done" else min(1.0, self.cells_done / max(1, self.cells))


ProgressCallback = Callable[[Progress], None]
"""A function that is called with the progress of a run. An exception that it raises stops the run."""


def ignore_progress(progress: Progress) -> None:
    """Do nothing with the progress of a run."""


def describe_progress(state: RunState) -> Progress:
    """Return the progress of a run from its state."""
    running = next((stage for stage in state.stages if stage.state == "running"), None)
    whole = [stage.whole for stage in state.stages]
    return Progress(
        run=state.run,
        state=state.state,
        stage=running.name if running else "",
        done=min(running.units, running.total) if running else 0,
        total=running.total if running else 0,
        unit=running.unit if running else "",
        cells_done=sum(group.done for group in whole),
        cells=sum(group.cells for group in whole),
        seconds_left=running.seconds_left if running else None,
        activity=state.activity,
    )
