"""The execution of tasks in this process, one after the other."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from raypipe.base.errors import describe_error
from raypipe.execution.adapt_network import find_device
from raypipe.execution.executor import TaskError
from raypipe.execution.model_cache import ModelCache
from raypipe.execution.shards import ShardResult, ShardTask, ShardWork, process_shard
from raypipe.plan.cells import Cell
from raypipe.progress.stage import StageProgress
from raypipe.storage.errors import StoreError
from raypipe.storage.store import Store

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class LocalExecutor:
    """The work of one process with its own models.

    Parameters
    ----------
    models
        Models, on the device that all work uses. Their store has the tiles, and gets all results.
    """

    models: ModelCache

    @property
    def store(self) -> Store:
        """Store of all tiles, models and results."""
        return self.models.store

    def read_files(
        self,
        read: Callable[[T], R],
        tasks: Sequence[T],
        name: str,  # noqa: ARG002  required by the protocol
        say: Callable[[str], None],  # noqa: ARG002
    ) -> Iterator[R]:
        """Run a function on every task."""
        yield from map(read, tasks)

    def run_shards(
        self,
        work: ShardWork,
        tasks: Sequence[ShardTask],
        cells: Sequence[Cell],  # noqa: ARG002  required by the protocol
        progress: StageProgress,
    ) -> Iterator[ShardResult]:
        """Do the work of every task.

        Raises
        ------
        raypipe.execution.executor.TaskError
            If a task fails; it names the cell.
        """
        progress.state.alive = True  # there are no workers to wait for
        for task in tasks:
            try:
                yield process_shard(task, work, self.models)
            except StoreError:
                raise
            except Exception as error:
                why = f"{progress.state.name} failed: {task.cell}: {describe_error(error)}"
                raise TaskError(f"{why}; finished work is kept, run again to continue", task.cell) from error

    def record_facts(self, run: str, cell: Cell, facts: Mapping[str, Any]) -> None:
        """Record nothing: the progress shows everything."""


def hold_model(cell: Cell, network: nn.Module, store: Store, batch_size: int | None) -> LocalExecutor:
    """Return an executor that holds an imported model in memory, on the model's own device.

    Parameters
    ----------
    cell, network
        Cell of the model, and the model itself.
    store
        Store of the tiles and of all results.
    batch_size
        Tiles per pass; None finds it by trial.
    """
    return LocalExecutor(ModelCache(store, find_device(network), batch_size, {cell.key: network}))
