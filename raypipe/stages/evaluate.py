"""The evaluate stage: workers predict every required pair of a model and a set of tiles."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.evaluation.predict import predict
from raypipe.evaluation.results.tables import tabulate_predictions
from raypipe.experiment.schema import Resources
from raypipe.plan.cells import Cell
from raypipe.progress.stage import StageProgress
from raypipe.stages.model_cache import ModelCache
from raypipe.stages.ray_map import Row
from raypipe.stages.shards import complete_cells, shard_row
from raypipe.storage.schemas import PREDICTIONS
from raypipe.storage.store import Store

BATCH = 64
"""Number of tiles per forward pass, if the experiment does not set it."""


def evaluate(cells: Sequence[Cell], store: Store, resources: Resources, progress: StageProgress) -> None:
    """Compute the predictions of `cells`.

    Raises
    ------
    raypipe.base.errors.StageError
        If a shard fails.
    """

    def shards(cell: Cell) -> list[str]:
        tiles = cell.inputs["tiles"]
        return store.shards(tiles.kind, tiles.key, cell.spec.split if tiles.kind == "tiles" else "")

    rows = [
        shard_row(cell, shard, "", store, tiles=cell.inputs["tiles"].key)
        for cell, found in zip(cells, store.ask_all(shards, cells), strict=True)
        for shard in found
    ]
    complete_cells(PredictShard(), rows, cells, store, resources, progress)


class PredictShard:
    """The predictions of the plain model for a shard of clean or adversarial tiles."""

    def compute(
        self,
        models: ModelCache,
        row: Row,
        tiles: pa.Table,  # noqa: ARG002  required by the protocol
        images: NDArray[np.uint8],
    ) -> NDArray[np.float32]:
        """Return the logits of the shard's tiles."""
        return predict(models.classifier(row["model"]), images, models.resources.attack_batch or BATCH, models.device)

    def tabulate(self, row: Row, tiles: pa.Table, made: NDArray[np.float32] | None) -> tuple[pa.Table, Row]:
        """Return the logits with the columns that identify their tiles, and the number of forward passes."""
        if made is None:
            return PREDICTIONS.empty_table(), {"forwards": tiles.num_rows}
        return tabulate_predictions(tiles, made, row["model"], row["tiles"]), {"forwards": tiles.num_rows}
