"""The execution of tasks on a Ray cluster, in tasks or in a pool of actors."""

import functools
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa
import torch

from raypipe.base.errors import StageError
from raypipe.execution.executor import TaskError
from raypipe.execution.model_cache import ModelCache
from raypipe.execution.shards import ShardResult, ShardTask, ShardWork, process_shard
from raypipe.experiment.schema import Resources
from raypipe.plan.cells import Cell
from raypipe.progress.stage import StageProgress
from raypipe.stages.cluster import get_own_device
from raypipe.stages.metrics import Labels, count_shard, get_labels, note_success
from raypipe.stages.ray_map import Item, ItemError, build_item_error, map_items
from raypipe.storage.store import Store

BUNDLES = 64
"""Largest number of bundles of shards on an object store, where a worker reads and writes the shards of a bundle at the
same time: each request takes long. On a local disk, and on a GPU, a bundle is one shard."""
SHARDS_AT_ONCE = 8
"""Largest number of shards of a bundle that a worker holds at the same time."""
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class ClusterExecutor:
    """The connected Ray cluster.

    Parameters
    ----------
    store
        Store in which workers read and write.
    resources
        Resources of the experiment.
    """

    store: Store
    resources: Resources

    def read_files(
        self, read: Callable[[T], R], tasks: Sequence[T], name: str, say: Callable[[str], None]
    ) -> Iterator[R]:
        """Run a function on every task, as Ray tasks on CPUs. It and its results must be picklable.

        Raises
        ------
        raypipe.base.errors.StageError
            If a task fails.
        """
        items = [_pack(task) for task in tasks]
        for item in map_items(_read_task, items, self.resources, name=name, setup={"read": read}, say=say):
            yield pickle.loads(item["result"])  # noqa: S301  our own worker made it

    def run_shards(
        self, work: ShardWork, tasks: Sequence[ShardTask], cells: Sequence[Cell], progress: StageProgress
    ) -> Iterator[ShardResult]:
        """Do the work of every task, in actors if they have GPUs.

        Raises
        ------
        raypipe.base.errors.StageError
            If a task fails, or a worker is lost for good.
        """
        labels = {cell.key: get_labels(progress.run, cell) for cell in cells}
        size = 1 if self.store.is_local or self.resources.gpu else -(-len(tasks) // BUNDLES)
        bundles = [tasks[start : start + size] for start in range(0, len(tasks), size)]
        try:
            for item in map_items(
                ShardActor if self.resources.gpu else run_shards,
                [_pack(bundle) for bundle in bundles],
                self.resources,
                name=progress.state.name,
                setup={"work": work, "store": self.store, "resources": self.resources, "labels": labels},
                at_once=self.resources.attack_actors,
                grow=True,
                on=self.resources.attack_on,
                say=progress.say,
            ):
                yield from pickle.loads(item["result"])  # noqa: S301
        except StageError as error:
            if isinstance(error.__cause__, ItemError):  # otherwise a worker was lost, and its cell is unknown
                raise TaskError(str(error), error.__cause__.args[1]) from error.__cause__
            raise

    def record_facts(self, run: str, cell: Cell, facts: Mapping[str, Any]) -> None:
        """Record the success rate of a finished attack as a metric."""
        note_success(get_labels(run, cell), facts.get("success_rate"))


class ShardActor:
    """A worker that keeps its model. Two threads call it, so that it decodes the next shard while it computes one.

    A bundle of several shards has a thread for each: they read and write at the same time, and compute in turns.

    Parameters
    ----------
    work
        Work to do on each shard.
    store
        Store in which the process itself reads and writes shards.
    resources
        Resources of the experiment.
    labels
        Labels of the metrics of each cell, by its key.
    """

    def __init__(self, work: ShardWork, store: Store, resources: Resources, labels: Mapping[str, Labels]) -> None:
        self.work = work
        self.models = get_process_models(store, resources)
        self.labels = labels
        self.turn = threading.Lock()

    def __call__(self, item: Item) -> Item:
        """Process a bundle of shards."""
        tasks: Sequence[ShardTask] = pickle.loads(item["task"])  # noqa: S301
        if len(tasks) == 1:
            return {"result": pickle.dumps([self._process(tasks[0])])}
        with ThreadPoolExecutor(min(len(tasks), SHARDS_AT_ONCE)) as pool:
            return {"result": pickle.dumps(list(pool.map(self._process, tasks)))}

    def _process(self, task: ShardTask) -> ShardResult:
        def observe(result: ShardResult, table: pa.Table) -> None:
            count_shard(self.labels[task.key], result, table)

        try:
            return process_shard(task, self.work, self.models, turn=self.turn, observe=observe)
        except Exception as error:
            raise build_item_error(error, task.cell) from error


def run_shards(item: Item, work: ShardWork, store: Store, resources: Resources, labels: Mapping[str, Labels]) -> Item:
    """Process a bundle of shards in a task: where the CPU both decodes and computes, reading ahead gains nothing."""
    return ShardActor(work, store, resources, labels)(item)


@functools.lru_cache(maxsize=1)
def get_process_models(store: Store, resources: Resources) -> ModelCache:
    """Return the models that this process holds. A task finds the model that an earlier task prepared."""
    torch.set_num_threads(max(1, int(resources.cpus_per_worker)))
    return ModelCache(store, get_own_device(resources.gpu), resources.attack_batch)


def _pack(task: Any) -> Item:
    return {"task": pickle.dumps(task)}


def _read_task(item: Item, read: Callable[[Any], Any]) -> Item:
    return {"result": pickle.dumps(read(pickle.loads(item["task"])))}  # noqa: S301
