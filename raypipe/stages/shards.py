"""Work by shard on Ray Data: a Parquet shard is the item, and whoever works on it writes the result shard itself.

Nothing else competes with the workers for CPUs, a result shard is complete or absent, and a run that was killed finds
the finished ones.
"""

import functools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import ray
import ray.data
from numpy.typing import NDArray
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy

from raypipe.cells import Cell
from raypipe.config import Resources
from raypipe.data.tiles import images_of
from raypipe.errors import StageError
from raypipe.stages.cluster import capacity
from raypipe.stages.loaded import ModelCache, models_of_this_process
from raypipe.stages.metrics import count_shard, labels_of
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

    Raises
    ------
    StageError
        If an item fails, with its cause.
    """
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = NO_PROGRESS_SECONDS
    context.target_max_block_size = 1  # byte: every row is handed on as soon as it is there
    blocks = len(items)
    if isinstance(work, type):
        size = min(len(items), capacity().workers(resources, at_once))
        how: dict[str, Any] = {
            "compute": ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=SHARDS_IN_FLIGHT),
            "max_concurrency": SHARDS_IN_FLIGHT,
            "fn_constructor_kwargs": dict(setup or {}),
            "num_gpus": 1 if resources.gpu else 0,
        }
    else:
        size = capacity().workers(resources.model_copy(update={"gpu": False}), at_once)
        blocks = min(len(items), BLOCKS_A_WORKER * size)
        how = {"compute": TaskPoolStrategy(size=size), "fn_kwargs": dict(setup or {})}
    dataset = ray.data.from_items(list(items), override_num_blocks=blocks).map(
        _named(work, name), num_cpus=resources.cpus_per_worker, **how
    )
    dataset.set_name(name)
    try:
        yield from dataset.iter_rows()
    except ray.exceptions.RayError as error:
        raise StageError(f"{name} failed: {_innermost(error)}; finished shards are kept, run again to go on") from error


def _named(work: Callable[..., Row] | type, name: str) -> Callable[..., Row] | type:
    """The same under another name: Ray's dashboard and `ps` show a worker by that of its function or class."""
    name = name.replace(" ", "_")
    if isinstance(work, type):
        return type(name, (work,), {})

    @functools.wraps(work)
    def task(row: Row, **setup: Any) -> Row:
        return work(row, **setup)

    task.__name__ = name
    return task


class ShardWork(Protocol):
    """What a stage does with a shard of tiles, in two parts: one that needs the model, and one that does not."""

    def compute(self, models: ModelCache, row: Row, tiles: pa.Table, images: NDArray[np.uint8]) -> Any:
        """Run the network on the shard's tiles; called for one shard at a time."""

    def tabulate(self, row: Row, tiles: pa.Table, made: Any) -> tuple[pa.Table, Row]:
        """The result as it is stored, and figures of it for whoever watches. `made` is None if the shard is empty."""


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
            return {"key": row["key"], "tiles": 0, "seconds": 0.0}
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
        self.store.write_table(row["target"], table)
        return {"key": row["key"], "tiles": tiles.num_rows, "seconds": seconds, **figures}


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
    publish: Callable[[Cell], str | None],
    note: Callable[[Row], str] | None = None,
) -> None:
    """Have the cluster write the shards that cells still lack, and publish each cell once it lacks none.

    Parameters
    ----------
    rows
        One for each shard of each cell, with the cell's ``key``, the ``shard``'s path, which tiles to ``take`` from it
        (`raypipe.stages.chosen`), and the ``target`` path.
    publish
        Called with each cell whose shards are all there; says what came out, or nothing.
    note
        What to say in passing of a shard that was just done, from the actor's answer.
    """
    by_key = {cell.key: cell for cell in cells}
    labels = {cell.key: json.dumps(labels_of(cell)) for cell in cells}
    todo = [{**row, "labels": labels[row["key"]]} for row in rows if not store.exists(row["target"])]
    missing = Counter(row["key"] for row in todo)
    for cell in cells:
        if not missing[cell.key]:
            progress.finish(cell.name, publish(cell) or "")
    if not todo:
        return
    setup = {"work": work, "store": store, "resources": resources}
    how = ShardActor if resources.gpu else shard_task
    for row in map_shards(how, todo, resources, name=cells[0].stage, setup=setup, at_once=resources.attack_actors):
        cell = by_key[row["key"]]
        progress.advance(row["tiles"], note(row) if note else "", cell=cell.name)
        missing[cell.key] -= 1
        if not missing[cell.key]:
            progress.finish(cell.name, publish(cell) or "")


def result_path(cell: Cell, shard: str, store: Store) -> str:
    """Where the result of a shard belongs: under the shard's own name in the cell's artifact."""
    return f"{store.artifact(cell.kind, cell.key)}/{shard.rsplit('/', 1)[1]}"


def _innermost(error: BaseException) -> str:
    cause: BaseException = error
    while isinstance(cause, ray.exceptions.RayTaskError) and isinstance(cause.cause, BaseException):
        cause = cause.cause
    return str(cause).strip().splitlines()[-1] if str(cause).strip() else type(cause).__name__
