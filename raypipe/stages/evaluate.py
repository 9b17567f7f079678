"""Evaluate: workers predict every needed pair of a model and a set of tiles."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.evaluation.predict import predict
from raypipe.evaluation.results.stored import predictions_table
from raypipe.experiment.schema import Resources
from raypipe.plan.cells import Cell
from raypipe.progress.stage import StageProgress
from raypipe.stages.model_cache import ModelCache
from raypipe.stages.ray_map import Row
from raypipe.stages.shards import complete_cells, shard_row
from raypipe.storage.schemas import PREDICTIONS
from raypipe.storage.store import Store

BATCH = 64
"""Tiles a forward pass, where the experiment does not say."""


def evaluate(cells: Sequence[Cell], store: Store, resources: Resources, progress: StageProgress) -> None:
    """Make the predictions of `cells`.

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
    """Predicts a shard of tiles, clean or adversarial, with the plain model."""

    def compute(
        self,
        models: ModelCache,
        row: Row,
        tiles: pa.Table,  # noqa: ARG002  the protocol's
        images: NDArray[np.uint8],
    ) -> NDArray[np.float32]:
        """The logits."""
        return predict(models.classifier(row["model"]), images, models.resources.attack_batch or BATCH, models.device)

    def tabulate(self, row: Row, tiles: pa.Table, made: NDArray[np.float32] | None) -> tuple[pa.Table, Row]:
        """The logits beside what they belong to."""
        if made is None:
            return PREDICTIONS.empty_table(), {"forwards": tiles.num_rows}
        return predictions_table(tiles, made, row["model"], row["tiles"]), {"forwards": tiles.num_rows}
