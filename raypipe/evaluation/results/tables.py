"""Stored tables of adversarial tiles and predictions: see `raypipe.storage.schemas`."""

from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.attacks.engine.generate import Adversarials
from raypipe.data.reading.png import encode_png
from raypipe.data.tiles import decode_images
from raypipe.storage.schemas import ADVERSARIALS, PREDICTIONS


def tabulate_adversarials(tiles: pa.Table, adversarials: Adversarials) -> pa.Table:
    """Return the table that stores adversarial tiles, in the order of the clean ones."""
    ids = tiles["sample_id"].to_pylist()
    columns: dict[str, Any] = {
        "sample_id": ids,
        "group_id": tiles["group_id"],
        "image": [
            {"bytes": encode_png(image), "path": f"{name}.png"}
            for name, image in zip(ids, adversarials.images, strict=True)
        ],
        "label": tiles["label"],
    }
    columns |= {name: getattr(adversarials, name) for name in ADVERSARIALS.names if name not in columns}
    return pa.table(columns, schema=ADVERSARIALS)


def parse_adversarials(table: pa.Table) -> Adversarials:
    """Return the adversarial tiles of a stored table, in the order of its rows."""
    if "queries" not in table.column_names:  # an older raypipe did not count them
        table = table.append_column("queries", pa.array(np.zeros(table.num_rows, dtype=np.int64)))
    names = [column.name for column in fields(Adversarials) if column.name != "images"]
    return Adversarials(images=decode_images(table), **{name: table[name].to_numpy() for name in names})


def tabulate_predictions(tiles: pa.Table, logits: NDArray[np.float32], model_key: str, tiles_key: str) -> pa.Table:
    """Return the table that stores logits, (n, classes), with the ids, groups and labels of their tiles."""
    columns = {
        "sample_id": tiles["sample_id"],
        "group_id": tiles["group_id"],
        "label": tiles["label"],
        "model_key": [model_key] * tiles.num_rows,
        "tiles_key": [tiles_key] * tiles.num_rows,
        "logits": pa.array(list(logits), pa.list_(pa.float32())),
    }
    return pa.table(columns, schema=PREDICTIONS)
