"""The progress of a run: a live tree on a terminal, and a file in its store for those who watch from elsewhere."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live

from raypipe.store import Store, StoreError
from raypipe.telemetry.stage import StageProgress, stage_progress
from raypipe.telemetry.state import RunState, StageState, write_state
from raypipe.telemetry.tree import run_tree

WRITE_EVERY_SECONDS = 3.0
STOPPED = "Stopped from outside. Start it again with the same file: it goes on from what is done."


@dataclass
class RunProgress:
    """The progress of a run.

    Parameters
    ----------
    state
        Of the run; its stages fill it in.
    console
        Where lines and the tree go.
    fail
        Writes down that the run ends, and why. To be called before Ray is left: a thread of Ray's that comes too late
        for that ends the whole process.
    """

    state: RunState
    console: Console
    fail: Callable[[BaseException], None]

    def stage(self, name: str, total: int, unit: str) -> AbstractContextManager[StageProgress]:
        """The progress of one of its stages, while a block runs.

        Raises
        ------
        StopIteration
            If the run has no such stage.
        """
        return stage_progress(self.console, name, total, unit, run=self.state)


@contextmanager
def run_progress(
    console: Console,
    store: Store,
    run: str,
    stages: Sequence[StageState],
    observe: Callable[[RunState], None] = lambda _: None,
) -> Iterator[RunProgress]:
    """Show a run's progress while the block runs, and write it down every few seconds, the end and its reason too.

    Parameters
    ----------
    observe
        Given the state as often as it is written down.

    Raises
    ------
    raypipe.store.StoreError
        If it cannot be written down: where that fails, results would fail too.
    """
    state = RunState(run=run, stages=list(stages))
    stop, writing = threading.Event(), threading.Lock()
    live = Live(
        get_renderable=lambda: run_tree(state, console.height), console=console, transient=True, refresh_per_second=4
    )

    def note() -> None:
        with writing:
            state.touch()
            observe(state)
            write_state(store, state)

    def beat() -> None:
        while not stop.wait(WRITE_EVERY_SECONDS):
            with suppress(StoreError):  # the next may succeed; the last is not suppressed
                note()

    def fail(error: BaseException) -> None:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)  # Ray turns a SIGTERM into the latter
        state.state, state.error = "failed", STOPPED if stopped else str(error) or type(error).__name__
        with suppress(StoreError):  # the first error says more
            note()

    note()
    writer = threading.Thread(target=beat, daemon=True)
    writer.start()
    try:
        with live if console.is_terminal else nullcontext():
            yield RunProgress(state, console, fail)
        state.state = "done"
    except BaseException as error:
        fail(error)
        raise
    finally:
        stop.set()
        writer.join()
        if state.state == "done":
            note()
