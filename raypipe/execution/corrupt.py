"""The corrupt stage: predictions of a model for tiles with a natural corruption, at every severity."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from raypipe.attacks.engine.draws import make_generators
from raypipe.corruptions import CORRUPTIONS
from raypipe.corruptions.base import SEVERITIES
from raypipe.evaluation.predict import predict
from raypipe.evaluation.statistics.metrics import predicted_labels
from raypipe.execution.executor import Executor, complete_cells
from raypipe.execution.model_cache import ModelCache
from raypipe.execution.shards import Figures, ShardTask, shard_task
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
    store = executor.store
    selector = TileSelector(store)
    tasks = [
        shard_task(cell, shard, store, positions)
        for cell in cells
        for shard, positions in selector.shards(cell.inputs["tiles"], "test", cell.spec.tiles)
    ]
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
        model, batch = models.network(task.model), models.batch_size or BATCH
        shown = [images]
        for severity in SEVERITIES:
            parts = np.split(images, range(batch, len(images), batch))
            changed = [corrupt_pixels(part, task.spec, severity, models.device) for part in parts]
            shown.append(np.concatenate(changed))
        predicted = [predicted_labels(predict(model, version, batch, models.device)) for version in shown]
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


def corrupt_pixels(
    images: NDArray[np.uint8], spec: CorruptSpec, severity: int, device: torch.device
) -> NDArray[np.uint8]:
    """Return corrupted tiles (n, h, w, 3) in 8 bits, as a file would hold them.

    Parameters
    ----------
    images
        (n, h, w, 3) tiles.
    spec, severity
        Corruption and seed, and a severity from 1 to 5.
    device
        Device of the computation.
    """
    clean = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(device).float().div_(255)
    with torch.no_grad():
        changed = CORRUPTIONS[spec.corruption].corrupt(
            clean, severity, make_generators(clean, f"corruption {spec.seed}")
        )
    pixels: NDArray[np.uint8] = changed.mul(255).round().byte().cpu().numpy().transpose(0, 2, 3, 1)
    return pixels
