"""Work by shard: an item is a Parquet shard, and its worker writes the result shard itself.

A result shard is complete or absent. After a run was killed, the next one finds the finished shards.
"""

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.attacks.engine.headway import observed
from raypipe.base.errors import StageError
from raypipe.data.tiles import decode_images
from raypipe.experiment.schema import Resources
from raypipe.plan.cells import Cell
from raypipe.progress.shards import followed_headway, shard_name, written_headway
from raypipe.progress.stage import StageProgress
from raypipe.stages.metrics import count_shard, labels_of
from raypipe.stages.model_cache import ModelCache, models_of_this_process
from raypipe.stages.ray_map import ItemError, Row, map_items
from raypipe.storage.costs import FREE, Cost, add_cost, read_cost
from raypipe.storage.store import Store


class ShardWork(Protocol):
    """The work of a stage on a shard of tiles, in two parts: one needs the model, and the other does not."""

    def compute(self, models: ModelCache, row: Row, tiles: pa.Table, images: NDArray[np.uint8]) -> Any:
        """Run the network on the shard's tiles. This is called for one shard at a time."""

    def tabulate(self, row: Row, tiles: pa.Table, made: Any) -> tuple[pa.Table, Row]:
        """Return the result table and its figures: ``forwards``, ``backwards`` and others for the progress display.

        `made` is None if the shard is empty.
        """


class ShardActor:
    """A worker that keeps its model. Two threads call it, so that it decodes the next shard while it computes one.

    Parameters
    ----------
    work
        Work to do on each shard.
    store
        Store in which the process itself reads and writes shards.
    resources
        Resources of the experiment.
    """

    def __init__(self, work: ShardWork, store: Store, resources: Resources) -> None:
        self.work = work
        self.store = store
        self.models = models_of_this_process(store, resources)
        self.turn = threading.Lock()

    def __call__(self, row: Row) -> Row:
        """Process one shard and write the complete result, unless it exists already: Ray may repeat a task."""
        if self.store.exists(row["target"]):
            return {"key": row["key"], "tiles": 0, **read_cost(self.store, row["target"]).facts()}
        tiles = self.store.read_table(row["shard"])
        if row["take"]:
            tiles = tiles.take(json.loads(row["take"]))
        images = decode_images(tiles) if tiles.num_rows else None
        seconds = 0.0
        made = None
        labels = json.loads(row["labels"])
        if images is not None:
            with self.turn:
                begun = time.perf_counter()
                name = shard_name(row["key"], row["target"])
                with written_headway(self.store, name, row["cell"], tiles.num_rows) as note, observed(note):
                    made = self.work.compute(self.models, row, tiles, images)
                seconds = time.perf_counter() - begun
            count_shard(labels, tiles.num_rows, seconds)
        table, figures = self.work.tabulate(row, tiles, made)
        cost = Cost(figures.pop("forwards", 0), figures.pop("backwards", 0), seconds, self.models.device.type)
        self.store.write_table(row["target"], add_cost(table, cost))
        return {"key": row["key"], "tiles": tiles.num_rows, **cost.facts(), **figures}


def shard_task(row: Row, work: ShardWork, store: Store, resources: Resources) -> Row:
    """Process one shard in a task: where the CPU both decodes and computes, reading ahead gains nothing."""
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
    """Have the cluster write the missing shards of cells, and publish each cell once it is complete.

    Parameters
    ----------
    rows
        Rows from `shard_row`, one per shard and cell.
    facts
        Called for each cell whose shards are all written; returns the facts for its manifest besides their cost.
    report
        Reports a finished shard to `progress` from the worker's answer; default: its number of tiles.

    Raises
    ------
    StageError
        If a shard fails; the message names its cell.
    """
    by_key = {cell.key: cell for cell in cells}
    by_name = {cell.name: cell for cell in cells}
    labels = {cell.key: json.dumps(labels_of(progress.run, cell)) for cell in cells}
    there = {path for shards in store.ask_all(lambda cell: store.shards(cell.kind, cell.key), cells) for path in shards}
    missing: Counter[str] = Counter()
    costs: dict[str, Cost] = defaultdict(Cost)
    todo = []
    for row in rows:
        key, done = row["key"], row["target"] in there
        missing[key] += not done
        costs[key] += read_cost(store, row["target"]) if done else FREE
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
    names = [shard_name(row["key"], row["target"]) for row in todo]
    following = followed_headway(store, names, lambda shards: progress.show_shards(shards, by_name))
    try:
        rows_done = map_items(
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
        with following:
            for row in rows_done:
                cell = by_key[row["key"]]
                costs[cell.key] += Cost(**{name: row[name] for name in Cost.__dataclass_fields__})
                if report:
                    report(cell, row)
                else:
                    progress.advance(row["tiles"], cell, seconds=row["seconds"])
                missing[cell.key] -= 1
                publish_whole(cell)
    except StageError as error:
        if isinstance(error.__cause__, ItemError):  # otherwise a worker was lost, and its cell is unknown
            progress.fail(by_name[error.__cause__.args[1]])
        raise


def shard_row(cell: Cell, shard: str, take: str, store: Store, **own: Any) -> Row:
    """Return the facts that a worker needs about a shard.

    Parameters
    ----------
    cell
        Cell of the result, whose model works on the shard.
    shard
        Path of the shard of tiles.
    take
        Positions of the tiles to take, from `raypipe.stages.tile_selection`; empty means all.
    store
        Store of the cell. The result gets the shard's own name in the cell's artifact.
    own
        Other values that the stage's work needs, plain numbers and strings.
    """
    target = f"{store.artifact(cell.kind, cell.key)}/{shard.rsplit('/', 1)[1]}"
    return {"key": cell.key, "model": cell.inputs["model"].key, "shard": shard, "take": take, "target": target, **own}
