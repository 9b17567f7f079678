"""The progress of a run: a live tree on a terminal, and a file in its store for those who watch from elsewhere."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from signal import Signals

from rich.console import Console
from rich.live import Live

from raypipe.base.stopping import STATUS_OF_SIGNAL, find_stop
from raypipe.progress.callback import ProgressCallback, describe_progress, ignore_progress
from raypipe.progress.stage import Detail, StageProgress, stage_progress
from raypipe.progress.state import RunState, StageState, write_state
from raypipe.progress.tree import run_tree
from raypipe.storage.errors import StoreError
from raypipe.storage.store import Store

WRITE_EVERY_SECONDS = 3.0


@dataclass
class RunProgress:
    """The progress of a run.

    Parameters
    ----------
    state
        State of the run; its stages fill it in.
    console
        Console for the lines and the tree.
    note
        Writes down the state of the run, for those who watch from elsewhere.
    fail
        Writes down that the run ends, and why. Call it before the connection to Ray closes: a Ray thread that comes too
        late for that ends the whole process.
    detail
        Amount of text.
    callback
        Called with the progress each time something is done, in the thread of the run.
    """

    state: RunState
    console: Console
    note: Callable[[], None]
    fail: Callable[[BaseException], None]
    detail: Detail = "normal"
    callback: ProgressCallback = ignore_progress

    def say(self, activity: str) -> None:
        """Show what the run does between or after its stages."""
        self.state.activity = activity
        self.tell()
        if self.detail != "quiet" and not self.console.is_terminal:
            self.console.print(f"  {activity}", highlight=False)

    def tell(self) -> None:
        """Call the callback with the progress of the run."""
        self.callback(describe_progress(self.state))

    def stage(self, name: str, total: int, unit: str) -> AbstractContextManager[StageProgress]:
        """Return a context manager with the progress of one stage of the run.

        Raises
        ------
        StopIteration
            If the run has no such stage.
        """
        return stage_progress(self.console, name, total, unit, run=self.state, detail=self.detail, observe=self.tell)


@contextmanager
def run_progress(
    console: Console,
    store: Store,
    run: str,
    stages: Sequence[StageState],
    observe: Callable[[RunState], None] = lambda _: None,
    detail: Detail = "normal",
    callback: ProgressCallback = ignore_progress,
) -> Iterator[RunProgress]:
    """Show a run's progress while the block runs, and write it down every few seconds, with the end and its reason.

    Parameters
    ----------
    observe
        Called with the state each time it is written down.
    detail
        Amount of text.
    callback
        Called with the progress each time something is done, and at the end. An exception that it raises ends the run.

    Raises
    ------
    raypipe.storage.errors.StoreError
        If the state cannot be written down: in that case results could not be written either.
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
            with suppress(StoreError):  # the next write may succeed; the last one is not suppressed
                note()

    def fail(error: BaseException) -> None:
        if state.state != "failed":
            state.state, state.error = "failed", str(error) or type(error).__name__
            if number := find_stop(error):
                state.error = _describe_stop(number, state, store)
                with suppress(OSError):  # the terminal may be closed; `raypipe status` prints the line too
                    console.print(state.error, highlight=False, markup=False, soft_wrap=True)
                vars(error)["reported"] = True  # code that catches the error need not report it again
            with suppress(Exception):  # the first error says more
                callback(describe_progress(state))
        with suppress(StoreError):  # the first error says more
            note()

    note()
    writer = threading.Thread(target=beat, daemon=True)
    writer.start()
    try:
        with live if console.is_terminal and detail != "quiet" else nullcontext():
            yield RunProgress(state, console, note, fail, detail, callback)
        state.complete()
        callback(describe_progress(state))
    except BaseException as error:
        fail(error)
        if (number := find_stop(error)) and not isinstance(error, KeyboardInterrupt | SystemExit):
            end = SystemExit(STATUS_OF_SIGNAL + number)  # a closed terminal took no last picture of the progress
            vars(end)["reported"] = True
            raise end from error
        raise
    finally:
        stop.set()
        writer.join()
        if state.state == "done":
            note()


def _describe_stop(number: Signals, state: RunState, store: Store) -> str:
    """Return how far the run came and how to continue."""
    cells, done = (sum(getattr(stage.whole, count) for stage in state.stages) for count in ("cells", "done"))
    return (
        f"Stopped by {number.name}: {done} of {cells} cells are finished and kept in {store.root}. Run the same "
        "command again to continue: only what is missing is computed."
    )
