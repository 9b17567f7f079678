"""Evaluate: an actor pool predicts every needed pair of a model and a set of tiles."""

from collections.abc import Sequence

import pyarrow as pa

from raypipe.config import Resources
from raypipe.data.tiles import images_of
from raypipe.evaluation.predict import predict
from raypipe.plan import Cell
from raypipe.schemas import PREDICTIONS
from raypipe.stages.loaded import ModelCache
from raypipe.stages.shards import Row, complete_cells, result_path
from raypipe.store import Store
from raypipe.telemetry import StageProgress


def evaluate(cells: Sequence[Cell], store: Store, resources: Resources, progress: StageProgress) -> None:
    """Make the predictions of `cells`.

    Raises
    ------
    raypipe.errors.StageError
        If a shard fails.
    """
    rows = []
    for cell in cells:
        tiles = cell.inputs["tiles"]
        rows += [
            {
                "key": cell.key,
                "model": cell.inputs["model"].key,
                "tiles": tiles.key,
                "shard": shard,
                "target": result_path(cell, shard, store),
            }
            for shard in store.shards(tiles.kind, tiles.key, cell.spec.split if tiles.kind == "tiles" else "")
        ]
    complete_cells(ShardPrediction, rows, cells, store, resources, progress, lambda cell: cell.publish(store))


class ShardPrediction:
    """An actor that holds a model and predicts a shard at a time.

    Parameters
    ----------
    store
        Where shards are read and written, by the actor itself.
    batch_size
        Tiles a forward pass.
    gpu
        Whether this actor has a GPU.
    """

    def __init__(self, store: Store, batch_size: int, gpu: bool) -> None:
        self.store = store
        self.batch_size = batch_size
        self.models = ModelCache(store, gpu)

    def __call__(self, row: Row) -> Row:
        """Predict one shard and write the logits, whole."""
        tiles = self.store.read_table(row["shard"], ["sample_id", "group_id", "label", "image"])
        logits = []
        if tiles.num_rows:
            model = self.models.get(row["model"])
            logits = list(predict(model, images_of(tiles), self.batch_size, self.models.device))
        columns = {
            "sample_id": tiles["sample_id"],
            "group_id": tiles["group_id"],
            "label": tiles["label"],
            "model_key": [row["model"]] * tiles.num_rows,
            "tiles_key": [row["tiles"]] * tiles.num_rows,
            "logits": pa.array(logits, pa.list_(pa.float32())),
        }
        self.store.write_table(row["target"], pa.table(columns, schema=PREDICTIONS))
        return {"key": row["key"], "tiles": tiles.num_rows}
