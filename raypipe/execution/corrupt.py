"""The corrupt stage: predictions of a model for tiles with a natural corruption, at every severity."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.corruptions.pixels import corrupt_pixels
from raypipe.evaluation.predict import predict
from raypipe.evaluation.statistics.metrics import predict_labels
from raypipe.execution.executor import Executor, complete_cells
from raypipe.execution.model_cache import ModelCache
from raypipe.execution.shards import Figures, ShardTask
from raypipe.execution.tile_selection import TileSelector
from raypipe.plan.cells import Cell, CorruptSpec
from raypipe.progress.stage import StageProgress
from raypipe.storage.schemas import CORRUPTED

BATCH = 64
"""Number of tiles that are corrupted or predicted at once, if the experiment does not set it."""


def corrupt(cells: Sequence[Cell], executor: Executor, progress: StageProgress) -> None:
    """Compute the predictions of `cells`.

    Raises
    ------
    raypipe.base.errors.StageError
        If a shard fails.
    """
    selector = TileSelector(executor.store)
    tasks = [task for cell in cells for task in selector.list_test_tasks(cell)]
    complete_cells(CorruptShard(), tasks, cells, executor, progress)


class CorruptShard:
    """The predictions of a model for a shard of clean tiles and their corrupted versions."""

    def compute(
        self,
        task: ShardTask,
        models: ModelCache,
        tiles: pa.Table,  # noqa: ARG002  required by the protocol
        images: NDArray[np.uint8],
    ) -> NDArray[np.int64]:
        """Return the predicted classes, (n, 1 + severities): of the clean tiles first, then by severity."""
        spec: CorruptSpec = task.spec
        model, batch = models.network(task.model), models.batch_size or BATCH
        shown = [images]
        for level in task.spec.levels:
            parts = np.split(images, range(batch, len(images), batch))
            changed = [corrupt_pixels(part, spec.corruption, level, spec.seed, models.device) for part in parts]
            shown.append(np.concatenate(changed))
        predicted = [predict_labels(predict(model, version, batch, models.device)) for version in shown]
        return np.stack(predicted, axis=1)

    def tabulate(
        self,
        task: ShardTask,  # noqa: ARG002  required by the protocol
        tiles: pa.Table,
        predicted: NDArray[np.int64] | None,
    ) -> tuple[pa.Table, Figures]:
        """Return the predictions with the columns that identify their tiles, and the number of forward passes."""
        if predicted is None:
            return CORRUPTED.empty_table(), {"forwards": 0}
        identity = {name: tiles[name] for name in ("sample_id", "group_id", "label")}
        columns = {"clean_prediction": predicted[:, 0], "predictions": predicted[:, 1:].tolist()}
        return pa.table({**identity, **columns}, schema=CORRUPTED), {"forwards": predicted.size}
