"""The interface of executors, and the completion of cells with any of them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from raypipe.base.errors import StageError
from raypipe.execution.shards import ShardResult, ShardTask, ShardWork
from raypipe.plan.cells import Cell
from raypipe.progress.shards import follow_headway, shard_name
from raypipe.progress.stage import StageProgress
from raypipe.storage.costs import Cost, read_cost
from raypipe.storage.store import Store, StoreError

T = TypeVar("T")
R = TypeVar("R")


class TaskError(StageError):
    """The failure of a task. `cell` is the name of the cell that it belongs to."""

    def __init__(self, message: str, cell: str) -> None:
        super().__init__(message)
        self.cell = cell


class Executor(Protocol):
    """A place where the tasks of a stage run: a Ray cluster, or this process."""

    @property
    def store(self) -> Store:
        """Store of all tiles, models and results."""

    def read_files(
        self, read: Callable[[T], R], tasks: Sequence[T], name: str, say: Callable[[str], None]
    ) -> Iterator[R]:
        """Run a function on every task, without a model, and yield its results as they arrive."""

    def run_shards(
        self, work: ShardWork, tasks: Sequence[ShardTask], cells: Sequence[Cell], progress: StageProgress
    ) -> Iterator[ShardResult]:
        """Do the work of every task, and yield the results as they arrive.

        Raises
        ------
        TaskError
            If a task fails; it names the cell.
        """

    def record_facts(self, run: str, cell: Cell, facts: Mapping[str, Any]) -> None:
        """Record the facts of a finished cell for those who watch the executor."""


def complete_cells(
    work: ShardWork,
    tasks: Sequence[ShardTask],
    cells: Sequence[Cell],
    executor: Executor,
    progress: StageProgress,
    facts: Callable[[Cell], Mapping[str, Any]] = lambda _: {},
    report: Callable[[Cell, ShardResult], None] | None = None,
) -> None:
    """Have the executor write the missing shards of cells, and publish each cell once it is complete.

    Parameters
    ----------
    tasks
        Tasks from `raypipe.execution.shards.shard_task`, one per shard and cell.
    facts
        Called for each cell whose shards are all written; returns the facts for its manifest besides their cost.
    report
        Reports a finished task to `progress`; default: its number of tiles.

    Raises
    ------
    raypipe.base.errors.StageError
        If a task fails, or a finished cell cannot be published; the message names the cell.
    """
    store = executor.store
    by_key = {cell.key: cell for cell in cells}
    by_name = {cell.name: cell for cell in cells}
    existing = {
        path for shards in store.ask_all(lambda cell: store.shards(cell.kind, cell.key), cells) for path in shards
    }
    todo = [task for task in tasks if task.target not in existing]
    remaining = Counter(task.key for task in todo)
    costs: dict[str, Cost] = defaultdict(Cost)
    for task in tasks:
        if task.target in existing:
            costs[task.key] += read_cost(store, task.target)

    def publish_if_complete(cell: Cell) -> None:
        if not remaining[cell.key]:
            _publish(cell, facts, costs[cell.key], executor, progress.run)
            progress.finish(cell)

    names = [shard_name(task.key, task.target) for task in todo]
    watch = follow_headway(store, names, lambda shards: progress.show_shards(shards, by_name))
    try:
        for cell in cells:
            publish_if_complete(cell)
        if not todo:
            return
        with watch:
            for result in executor.run_shards(work, todo, cells, progress):
                cell = by_key[result.key]
                costs[cell.key] += result.cost
                if report:
                    report(cell, result)
                else:
                    progress.advance(result.tiles, cell, seconds=result.cost.seconds)
                remaining[cell.key] -= 1
                publish_if_complete(cell)
    except TaskError as error:
        progress.fail(by_name[error.cell])
        raise


def _publish(cell: Cell, facts: Callable[[Cell], Mapping[str, Any]], cost: Cost, executor: Executor, run: str) -> None:
    """Publish a complete cell; an error of the store is named like the failure of a task, which also writes to it."""
    try:
        cell_facts = facts(cell)
        executor.record_facts(run, cell, cell_facts)
        cell.publish(executor.store, **cell_facts, cost=cost.facts())
    except StoreError as error:
        raise TaskError(f"{cell.stage} failed: {cell.name}: {type(error).__name__}: {error}", cell.name) from error
