"""Work by shard on Ray Data: a Parquet shard is the item, and whoever works on it writes the result shard itself.

Nothing else competes with the workers for CPUs, a result shard is complete or absent, and a run that was killed finds
the finished ones.
"""

import functools
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy

from raypipe.cells import Cell
from raypipe.costs import FREE, Cost, cost_of_shard, with_cost
from raypipe.data.tiles import images_of
from raypipe.errors import StageError
from raypipe.experiment import Resources
from raypipe.stages.loaded import ModelCache, models_of_this_process
from raypipe.stages.metrics import count_shard, labels_of
from raypipe.stages.room import SHARE, room_for
from raypipe.store import Store
from raypipe.telemetry.stage import StageProgress

NO_PROGRESS_SECONDS = 3600
"""One shard may take long; a pool that cannot be placed at all is refused before it starts."""

SHARDS_IN_FLIGHT = 2
"""An actor computes one shard while it reads and decodes the next, or writes the last."""

BLOCKS_A_WORKER = 16
"""Tasks take blocks of shards, since Ray Data looks for finished ones ten times a second only; and a worker gets many
blocks, since shards differ in the work they are."""

Row = dict[str, Any]


def map_shards(
    work: Callable[..., Row] | type,
    items: Sequence[Row],
    resources: Resources,
    *,
    name: str,
    setup: Mapping[str, Any] | None = None,
    at_once: int | None = None,
    grow: bool = False,
    on: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[Row]:
    """Run `work` on every item, in parallel over the cluster, yielding its rows as they come.

    Parameters
    ----------
    work
        A function, run as tasks; or a class whose instances are called with an item, run as an actor pool. Tasks of one
        stage and the next share Ray's worker processes, which import PyTorch once; every pool starts its own.
    items
        Flat records: plain numbers and strings.
    resources
        Their `cpus_per_worker` and `gpu` say how large a worker is. Tasks never take a GPU.
    name
        Of the operator, on the Ray dashboard.
    setup
        Arguments of the class, or further ones of the function.
    at_once
        Items in work at most; default: as many as the cluster has room for.
    grow
        Whether nodes that join meanwhile are worked on too, and an autoscaler is asked for them.
    on
        A custom resource of the nodes to work on; default: any node will do.
    say
        Told of a wait for nodes, and of room for fewer.

    Raises
    ------
    StageError
        If an item fails, with its cause.
    """
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = NO_PROGRESS_SECONDS
    context.raise_original_map_exception = True  # else all that is left is "UDF failed to process a data block"
    context.target_max_block_size = 1  # byte: every row is handed on as soon as it is there
    blocks = len(items)
    if isinstance(work, type):
        size = min(len(items), room_for(resources, at_once, on=on, say=say))
        pool = ActorPoolStrategy(
            min_size=1,
            initial_size=size,
            max_size=min(len(items), at_once or len(items)) if grow else size,
            max_tasks_in_flight_per_actor=SHARDS_IN_FLIGHT,
        )
        how: dict[str, Any] = {
            "compute": pool,
            "max_concurrency": SHARDS_IN_FLIGHT,
            "fn_constructor_kwargs": dict(setup or {}),
            "num_gpus": resources.gpus_per_worker,
        }
    else:
        size = room_for(resources.model_copy(update={"gpu": False}), at_once, on=on, say=say)
        blocks = min(len(items), BLOCKS_A_WORKER * size)
        how = {"compute": TaskPoolStrategy(size=at_once if grow else size), "fn_kwargs": dict(setup or {})}
    dataset = ray.data.from_items(list(items), override_num_blocks=blocks).map(
        _named(work, name), num_cpus=resources.cpus_per_worker, resources={on: SHARE} if on else None, **how
    )
    dataset.set_name(name)
    try:
        yield from dataset.iter_rows()
    except ray.exceptions.RayError as error:
        cause = _innermost(error)
        why = str(cause) if isinstance(cause, ItemError) else _last_line(cause)
        raise StageError(f"{name} failed: {why}; finished shards are kept, run again to go on") from cause


class ItemError(ray.exceptions.UserCodeException):
    """Work on an item failed. Its arguments: why, and the name of the cell that the item is of, if it says one.

    Ray Data takes any other exception for its own, and asks the user to report it.
    """

    def __str__(self) -> str:
        why, cell = self.args
        why = why.splitlines()[0]  # to the rest Ray Data has added advice about retries
        return f"{cell}: {why}" if cell else why


def _named(work: Callable[..., Row] | type, name: str) -> Callable[..., Row] | type:
    """The same under another name: Ray's dashboard and `ps` show a worker by that of its function or class."""

    def told(call: Callable[..., Row]) -> Callable[..., Row]:
        @functools.wraps(call)
        def of_item(*arguments: Any, **setup: Any) -> Row:
            try:
                return call(*arguments, **setup)
            except Exception as error:
                row = arguments[-1]
                raise ItemError(f"{type(error).__name__}: {_last_line(error)}", row.get("cell", "")) from error

        return of_item

    name = name.replace(" ", "_")
    if isinstance(work, type):
        return type(name, (work,), {"__call__": told(work.__call__)})
    task = told(work)
    task.__name__ = name
    return task


class ShardWork(Protocol):
    """What a stage does with a shard of tiles, in two parts: one that needs the model, and one that does not."""

    def compute(self, models: ModelCache, row: Row, tiles: pa.Table, images: NDArray[np.uint8]) -> Any:
        """Run the network on the shard's tiles; called for one shard at a time."""

    def tabulate(self, row: Row, tiles: pa.Table, made: Any) -> tuple[pa.Table, Row]:
        """The result as it is stored, and figures of it: its ``forwards`` and ``backwards``, and others for whoever
        watches. `made` is None if the shard is empty."""


class ShardActor:
    """Works on shards with a model at hand; called from two threads, it decodes the next while one is computed.

    Parameters
    ----------
    work
        What to do.
    store
        Where shards are read and written, by the process itself.
    resources
        Of the experiment.
    """

    def __init__(self, work: ShardWork, store: Store, resources: Resources) -> None:
        self.work = work
        self.store = store
        self.models = models_of_this_process(store, resources)
        self.turn = threading.Lock()

    def __call__(self, row: Row) -> Row:
        """Work on one shard and write the result, whole; unless it is there, which it may be if Ray repeats a task."""
        if self.store.exists(row["target"]):
            return {"key": row["key"], "tiles": 0, **cost_of_shard(self.store, row["target"]).facts()}
        tiles = self.store.read_table(row["shard"])
        if row["take"]:
            tiles = tiles.take(json.loads(row["take"]))
        images = images_of(tiles) if tiles.num_rows else None
        seconds = 0.0
        made = None
        labels = json.loads(row["labels"])
        if images is not None:
            with self.turn:
                begun = time.perf_counter()
                made = self.work.compute(self.models, row, tiles, images)
                seconds = time.perf_counter() - begun
            count_shard(labels, tiles.num_rows, seconds)
        table, figures = self.work.tabulate(row, tiles, made)
        cost = Cost(figures.pop("forwards", 0), figures.pop("backwards", 0), seconds, self.models.device.type)
        self.store.write_table(row["target"], with_cost(table, cost))
        return {"key": row["key"], "tiles": tiles.num_rows, **cost.facts(), **figures}


def shard_task(row: Row, work: ShardWork, store: Store, resources: Resources) -> Row:
    """The same as a task: reading ahead gains nothing where the model computes on the CPU that also decodes."""
    return ShardActor(work, store, resources)(row)


def complete_cells(
    work: ShardWork,
    rows: Sequence[Row],
    cells: Sequence[Cell],
    store: Store,
    resources: Resources,
    progress: StageProgress,
    facts: Callable[[Cell], Mapping[str, Any]] = lambda _: {},
    report: Callable[[Cell, Row], None] | None = None,
) -> None:
    """Have the cluster write the shards that cells still lack, and publish each cell once it lacks none.

    Parameters
    ----------
    rows
        One for each shard of each cell, by `shard_row`.
    facts
        Asked of each cell whose shards are all there, for what its manifest says besides their cost.
    report
        Tells `progress` of a shard that was just done, from the worker's answer; default: of its tiles.

    Raises
    ------
    StageError
        If a shard fails, naming its cell.
    """
    by_key = {cell.key: cell for cell in cells}
    by_name = {cell.name: cell for cell in cells}
    labels = {cell.key: json.dumps(labels_of(progress.run, cell)) for cell in cells}
    missing: Counter[str] = Counter()
    costs: dict[str, Cost] = defaultdict(Cost)
    todo = []
    for row in rows:
        key, done = row["key"], store.exists(row["target"])
        missing[key] += not done
        costs[key] += cost_of_shard(store, row["target"]) if done else FREE
        todo += [] if done else [{**row, "cell": by_key[key].name, "labels": labels[key]}]

    def publish_whole(cell: Cell) -> None:
        if not missing[cell.key]:
            cell.publish(store, **facts(cell), cost=costs[cell.key].facts())
            progress.finish(cell)

    for cell in cells:
        publish_whole(cell)
    if not todo:
        return
    setup = {"work": work, "store": store, "resources": resources}
    how = ShardActor if resources.gpu else shard_task
    name = progress.state.name
    try:
        rows_done = map_shards(
            how,
            todo,
            resources,
            name=name,
            setup=setup,
            at_once=resources.attack_actors,
            grow=True,
            on=resources.attack_on,
            say=progress.say,
        )
        for row in rows_done:
            cell = by_key[row["key"]]
            costs[cell.key] += Cost(**{name: row[name] for name in Cost.__dataclass_fields__})
            if report:
                report(cell, row)
            else:
                progress.advance(row["tiles"], cell)
            missing[cell.key] -= 1
            publish_whole(cell)
    except StageError as error:
        if isinstance(error.__cause__, ItemError):  # else a worker was lost, and nobody knows with which cell
            progress.fail(by_name[error.__cause__.args[1]])
        raise


def shard_row(cell: Cell, shard: str, take: str, store: Store, **own: Any) -> Row:
    """What a worker is told of a shard.

    Parameters
    ----------
    cell
        That the result is of, and whose model works on the shard.
    shard
        The path of the tiles.
    take
        Which of them, by `raypipe.stages.chosen`; empty: all.
    store
        Of the cell. The result gets the shard's own name in the cell's artifact.
    own
        What else the stage's work needs: plain numbers and strings.
    """
    target = f"{store.artifact(cell.kind, cell.key)}/{shard.rsplit('/', 1)[1]}"
    return {"key": cell.key, "model": cell.inputs["model"].key, "shard": shard, "take": take, "target": target, **own}


def _innermost(error: BaseException) -> BaseException:
    cause = error
    while isinstance(cause, ray.exceptions.RayTaskError) and isinstance(cause.cause, BaseException):
        cause = cause.cause
    return cause


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
