"""The interface of executors, and the completion of cells with any of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from raypipe.base.errors import StageError
from raypipe.execution.shards import ShardResult, ShardTask, ShardWork
from raypipe.plan.cells import Cell
from raypipe.progress.shards import follow_headway, name_shard
from raypipe.progress.stage import StageProgress
from raypipe.storage.costs import Cost, read_cost
from raypipe.storage.errors import StoreError
from raypipe.storage.store import QUESTIONS_AT_ONCE, SUMMARY_FACT, Store

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
        """Run a function on every task, without a model, and yield its results as they arrive.

        Parameters
        ----------
        read
            The function. It and its results must be picklable.
        tasks
            Arguments of the function, one for each call.
        name
            Name of the work, as Ray's dashboard shows it.
        say
            Function that prints a line, such as that fewer workers run than asked for.
        """

    def run_shards(
        self, work: ShardWork, tasks: Sequence[ShardTask], cells: Sequence[Cell], progress: StageProgress
    ) -> Iterator[ShardResult]:
        """Do the work of every task, and yield the results as they arrive.

        Parameters
        ----------
        work
            The work of the stage.
        tasks
            Tasks of all cells, one for each shard.
        cells
            The cells that the tasks belong to.
        progress
            Progress of the stage.

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
    facts: Callable[[pa.Table], Mapping[str, Any]] = lambda _: {},
    report: Callable[[Cell, ShardResult], None] | None = None,
) -> None:
    """Have the executor write the missing shards of cells, and publish each cell once it is complete.

    Parameters
    ----------
    tasks
        Tasks from `raypipe.execution.shards.build_shard_task`, one per shard and cell.
    facts
        Called with the rows of each cell whose shards are all written, without images; returns the facts for its
        manifest besides their cost.
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
    parts = {cell.key: _Parts() for cell in cells}
    todo = _find_missing(tasks, parts, cells, store)
    tell = report or (lambda cell, result: progress.advance(result.tiles, cell, seconds=result.cost.seconds))

    def publish_if_complete(cell: Cell) -> None:
        if not parts[cell.key].missing:
            publications.begin(cell, parts[cell.key])
        for each in publications.finished():
            progress.finish(each)

    def note(result: ShardResult) -> None:
        cell = by_key[result.key]
        parts[cell.key].add(result)
        progress.leave_shard(name_shard(result.key, result.target))
        tell(cell, result)
        publish_if_complete(cell)

    names = [name_shard(task.key, task.target) for task in todo]
    watch = follow_headway(store, names, lambda shards: progress.show_shards(shards, by_name))
    try:
        with _Publications(executor, progress.run, facts) as publications:
            for cell in cells:
                publish_if_complete(cell)
            if todo:
                with watch:
                    for result in executor.run_shards(work, todo, cells, progress):
                        note(result)
            for cell in publications.finished(wait_for_all=True):
                progress.finish(cell)
    except TaskError as error:
        progress.fail(by_name[error.cell])
        raise


@dataclass
class _Parts:
    """The shards of a cell.

    Parameters
    ----------
    missing
        Number of shards that are not written yet.
    cost
        Cost of the others.
    rows
        Rows of every shard, by its path in order. None if it is not written yet, or if an earlier run wrote it.
    """

    missing: int = 0
    cost: Cost = field(default_factory=Cost)
    rows: dict[str, pa.Table | None] = field(default_factory=dict)

    def add(self, result: ShardResult) -> None:
        """Add a shard that was just written."""
        self.missing -= 1
        self.cost += result.cost
        self.rows[result.target] = result.rows


def _find_missing(
    tasks: Sequence[ShardTask], parts: Mapping[str, _Parts], cells: Sequence[Cell], store: Store
) -> list[ShardTask]:
    """Return the tasks whose shards the store lacks, and fill in the parts of each cell, by its key.

    All tasks of a model follow each other, because a worker keeps the model of its last task.
    """
    shards = store.ask_all(lambda cell: store.shards(cell.kind, cell.key), cells)
    existing = {path for paths in shards for path in paths}
    todo = [task for task in tasks if task.target not in existing]
    done = [task for task in tasks if task.target in existing]
    for task in sorted(tasks, key=lambda task: task.target):
        parts[task.key].rows[task.target] = None
        parts[task.key].missing += task.target not in existing
    for task, cost in zip(done, store.ask_all(lambda task: read_cost(store, task.target), done), strict=True):
        parts[task.key].cost += cost
    turns = {model: turn for turn, model in enumerate(dict.fromkeys(task.model for task in todo))}
    return sorted(todo, key=lambda task: turns[task.model])


class _Publications:
    """The publication of complete cells, several at a time: an object store takes long for each request.

    On a local disk each cell is published at once.
    """

    def __init__(self, executor: Executor, run: str, facts: Callable[[pa.Table], Mapping[str, Any]]) -> None:
        self.executor, self.run, self.facts = executor, run, facts
        self.pool = ThreadPoolExecutor(1 if executor.store.is_local else QUESTIONS_AT_ONCE)
        self.pending: dict[Future[Mapping[str, Any]], Cell] = {}

    def __enter__(self) -> "_Publications":
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown()

    def begin(self, cell: Cell, parts: _Parts) -> None:
        """Begin to publish a cell whose shards are all written."""
        future = self.pool.submit(_publish, cell, parts, self.executor.store, self.facts)
        self.pending[future] = cell
        if self.executor.store.is_local:
            wait([future])

    def finished(self, wait_for_all: bool = False) -> list[Cell]:
        """Return the cells that are published now and have not been returned before.

        Raises
        ------
        TaskError
            If one of them cannot be published.
        """
        cells = []
        for future in [each for each in self.pending if wait_for_all or each.done()]:
            cell = self.pending.pop(future)
            try:
                facts = future.result()
            except StoreError as error:
                why = f"{cell.stage} failed: {cell.name}: {type(error).__name__}: {error}"
                raise TaskError(why, cell.name) from error
            self.executor.record_facts(self.run, cell, facts)
            cells.append(cell)
        return cells


def _publish(
    cell: Cell, parts: _Parts, store: Store, facts: Callable[[pa.Table], Mapping[str, Any]]
) -> Mapping[str, Any]:
    """Publish a complete cell with the rows of its shards, and return its facts."""
    cost = parts.cost.facts()
    tables = [store.read_rows(path) if table is None else table for path, table in parts.rows.items()]
    parts.rows.clear()
    if not tables:  # a cell without tiles has no shards
        cell.publish(store, cost=cost)
        return {}
    rows = pa.concat_tables([table.replace_schema_metadata(None) for table in tables])
    if "sample_id" in rows.column_names:  # results are computed in the order of the ids; a pattern has none
        rows = rows.sort_by("sample_id")
    store.write_summary(cell.kind, cell.key, rows)
    cell_facts = facts(rows)
    cell.publish(store, **cell_facts, cost=cost, **{SUMMARY_FACT: True})
    return cell_facts
