"""The evaluate stage: the predictions of every required pair of a model and a set of tiles."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.evaluation.predict import predict
from raypipe.evaluation.results.tables import tabulate_predictions
from raypipe.execution.executor import Executor, complete_cells
from raypipe.execution.model_cache import ModelCache
from raypipe.execution.shards import Figures, ShardTask, build_shard_task
from raypipe.plan.cells import Cell
from raypipe.progress.stage import StageProgress
from raypipe.storage.schemas import PREDICTIONS

BATCH = 64
"""Number of tiles per forward pass, if the experiment does not set it."""


def evaluate(cells: Sequence[Cell], executor: Executor, progress: StageProgress) -> None:
    """Compute the predictions of `cells`.

    Raises
    ------
    raypipe.base.errors.StageError
        If a shard fails.
    """
    store = executor.store

    def find_tiles(cell: Cell) -> tuple[str, str, str]:
        tiles = cell.inputs["tiles"]
        return tiles.kind, tiles.key, cell.spec.split if tiles.kind == "tiles" else ""

    sets = dict.fromkeys(map(find_tiles, cells))  # several models predict the same tiles
    shards = dict(zip(sets, store.ask_all(lambda each: store.shards(*each), sets), strict=True))
    tasks = [build_shard_task(cell, shard, store) for cell in cells for shard in shards[find_tiles(cell)]]
    complete_cells(PredictShard(), tasks, cells, executor, progress)


class PredictShard:
    """The predictions of the plain model for a shard of clean or adversarial tiles."""

    def compute(
        self,
        task: ShardTask,
        models: ModelCache,
        tiles: pa.Table,  # noqa: ARG002  required by the protocol
        images: NDArray[np.uint8],
    ) -> NDArray[np.float32]:
        """Return the logits of the shard's tiles."""
        return predict(models.network(task.model), images, models.batch_size or BATCH, models.device)

    def tabulate(
        self, task: ShardTask, tiles: pa.Table, logits: NDArray[np.float32] | None
    ) -> tuple[pa.Table, Figures]:
        """Return the logits with the columns that identify their tiles, and the number of forward passes."""
        if logits is None:
            return PREDICTIONS.empty_table(), {"forwards": tiles.num_rows}
        return tabulate_predictions(tiles, logits, task.model, task.tiles), {"forwards": tiles.num_rows}
