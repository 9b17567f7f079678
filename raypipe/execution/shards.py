"""Work by shard: each task reads a Parquet shard of tiles and writes the result shard of one cell.

A result shard is complete or absent. After a run was killed, the next one finds the finished shards.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.attacks.engine.headway import observe_headway
from raypipe.execution.model_cache import ModelCache
from raypipe.plan.cells import Cell
from raypipe.progress.shards import name_shard, write_headway
from raypipe.storage.costs import Cost, add_cost, read_cost
from raypipe.storage.store import Store
from raypipe.storage.tables import drop_images

Figures = dict[str, int]


@dataclass(frozen=True)
class ShardTask:
    """A shard of tiles and the cell that works on it. It is small and can be pickled.

    Parameters
    ----------
    cell, key
        Name and content key of the cell.
    spec
        Settings of the cell.
    model, tiles
        Content keys of its model and of its tiles.
    shard
        Path of the shard of tiles.
    target
        Path of the result shard: the shard's own name in the cell's artifact.
    positions
        Positions of the tiles to take from the shard; None takes all.
    earlier
        Paths of other attacks' results on the same tiles. The attack skips the tiles that they fool.
    planted
        Positions in the shard of the tiles on which a diagnosis plants adversarial examples.
    further
        Other shards whose tiles are needed at the same time, each with the positions of the tiles to take.
    """

    cell: str
    key: str
    spec: Any
    model: str
    tiles: str
    shard: str
    target: str
    positions: tuple[int, ...] | None = None
    earlier: tuple[str, ...] = ()
    planted: tuple[int, ...] = ()
    further: tuple[tuple[str, tuple[int, ...] | None], ...] = ()


@dataclass(frozen=True)
class ShardResult:
    """The result of a task: the number of tiles it worked on, their cost, and figures for the progress display.

    Parameters
    ----------
    key
        Content key of the cell.
    target
        Path of the result shard.
    tiles
        Number of tiles; 0 if the result shard existed already.
    cost
        Cost of the result shard.
    figures
        Figures of the stage, such as ``attacked`` and ``fooled``.
    rows
        Rows of the result shard without images; None if it existed already, or if another run has written it meanwhile.
    """

    key: str
    target: str
    tiles: int
    cost: Cost
    figures: Figures = field(default_factory=dict)
    rows: pa.Table | None = None


class ShardWork(Protocol):
    """The work of a stage on a shard of tiles, in two parts: one needs the model, and the other does not."""

    def compute(self, task: ShardTask, models: ModelCache, tiles: pa.Table, images: NDArray[np.uint8]) -> Any:
        """Run the network on the shard's tiles. This is called for one shard at a time.

        Parameters
        ----------
        task
            The cell and the shard.
        models
            Models that this process has loaded.
        tiles
            Rows of the shard, without images.
        images
            (n, h, w, channels) uint8, an image for each row.

        Returns
        -------
        Any
            The outcome that `tabulate` takes.
        """

    def tabulate(self, task: ShardTask, tiles: pa.Table, outcome: Any) -> tuple[pa.Table, Figures]:
        """Return the result table and its figures: ``forwards``, ``backwards`` and others for the progress display.

        `outcome` is None if the shard is empty.
        """


Observe = Callable[[ShardResult, pa.Table], None]


def build_shard_task(
    cell: Cell, shard: str, store: Store, positions: tuple[int, ...] | None = None, **own: tuple[Any, ...]
) -> ShardTask:
    """Return the task of a cell on a shard of tiles; `own` are the fields that only its stage needs."""
    target = f"{store.artifact(cell.kind, cell.key)}/{shard.rsplit('/', 1)[1]}"
    model, tiles = cell.inputs["model"].key, cell.inputs["tiles"].key
    return ShardTask(cell.name, cell.key, cell.spec, model, tiles, shard, target, positions, **own)


def process_shard(
    task: ShardTask,
    work: ShardWork,
    models: ModelCache,
    *,
    turn: AbstractContextManager[Any] | None = None,
    observe: Observe = lambda *_: None,
) -> ShardResult:
    """Process one shard and write the complete result, unless it exists already: a task may be repeated.

    Parameters
    ----------
    work
        Work to do on the shard.
    models
        Models of this process. Their store has the tiles, and gets the result.
    turn
        Context in which the network runs, such as a lock of several threads.
    observe
        Called with the result and its table, if there was work to do.
    """
    store = models.store
    if store.exists(task.target):
        return ShardResult(task.key, task.target, 0, read_cost(store, task.target))
    tiles, images = models.tiles(task.shard, task.positions)
    seconds, outcome = 0.0, None
    if images is not None:
        with turn or nullcontext():
            start = time.perf_counter()
            name = name_shard(task.key, task.target)
            with write_headway(store, name, task.cell, tiles.num_rows) as write_note, observe_headway(write_note):
                outcome = work.compute(task, models, tiles, images)
            seconds = time.perf_counter() - start
    table, figures = work.tabulate(task, tiles, outcome)
    cost = Cost(figures.pop("forwards", 0), figures.pop("backwards", 0), seconds, models.device.type)
    result = ShardResult(task.key, task.target, tiles.num_rows, cost, figures, drop_images(table))
    if images is not None:
        observe(result, table)
    if not store.add_table(task.target, add_cost(table, cost)):  # another run has written it meanwhile
        return replace(result, cost=read_cost(store, task.target), rows=None)
    return result
