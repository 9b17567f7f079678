"""From what was computed of a set of tiles to the tables that are stored: see `raypipe.schemas`."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from raypipe.attacks.generate import Adversarials
from raypipe.attacks.norms import BoundedAttack
from raypipe.data.png import encode_png
from raypipe.evaluation.planted import Planted, binarization_test
from raypipe.evaluation.probe import Probe, probe
from raypipe.schemas import ADVERSARIALS, DIAGNOSTICS, PREDICTIONS


def adversarials_table(tiles: pa.Table, made: Adversarials) -> pa.Table:
    """The stored form of adversarial tiles, in the order of the clean ones."""
    ids = tiles["sample_id"].to_pylist()
    columns: dict[str, Any] = {
        "sample_id": ids,
        "group_id": tiles["group_id"],
        "image": [
            {"bytes": encode_png(image), "path": f"{name}.png"} for name, image in zip(ids, made.images, strict=True)
        ],
        "label": tiles["label"],
    }
    columns |= {name: getattr(made, name) for name in ADVERSARIALS.names if name not in columns}
    return pa.table(columns, schema=ADVERSARIALS)


def predictions_table(tiles: pa.Table, logits: NDArray[np.float32], model_key: str, tiles_key: str) -> pa.Table:
    """Logits, (n, classes), beside what they belong to."""
    columns = {
        "sample_id": tiles["sample_id"],
        "group_id": tiles["group_id"],
        "label": tiles["label"],
        "model_key": [model_key] * tiles.num_rows,
        "tiles_key": [tiles_key] * tiles.num_rows,
        "logits": pa.array(list(logits), pa.list_(pa.float32())),
    }
    return pa.table(columns, schema=PREDICTIONS)


class Diagnosed(NamedTuple):
    """What is known of tiles, and the positions of those that got a planted adversarial example."""

    probe: Probe
    planted: Planted | None
    positions: NDArray[np.int64]


def diagnose_tiles(
    model: nn.Module,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    attack: BoundedAttack,
    positions: NDArray[np.int64],
    *,
    batch_size: int,
    device: torch.device,
    seed: int,
) -> Diagnosed:
    """Look at a model as an attack sees it: `raypipe.evaluation.probe` and `raypipe.evaluation.planted`.

    Parameters
    ----------
    model, images, labels, batch_size, device
        As for `raypipe.evaluation.probe.probe`.
    attack
        Has to find planted adversarial examples.
    positions
        Of the tiles in which they are planted.
    seed
        Of what is planted.
    """
    planted = None
    if len(positions):
        planted = binarization_test(model, images[positions], attack, batch_size, device, seed=seed)
    return Diagnosed(probe(model, images, labels, batch_size, device), planted, positions)


def diagnostics_table(tiles: pa.Table, made: Diagnosed) -> pa.Table:
    """One row for each tile."""
    seen, planted, at = made
    count = tiles.num_rows
    columns: dict[str, NDArray[Any]] = {
        name: getattr(seen, name).copy() for name in DIAGNOSTICS.names if hasattr(seen, name)
    }
    columns |= {name: np.zeros(count, bool) for name in ("planted", "planted_found", "planted_random_found")}
    columns |= {"planted_reason": np.full(count, "", object), "planted_random_points": np.zeros(count, np.int64)}
    if planted is not None:
        columns["planted"][at] = True
        columns["planted_reason"][at] = planted.reasons
        columns["planted_found"][at] = planted.found
        columns["planted_random_found"][at] = planted.random_found
        columns["planted_random_points"][at] = planted.random_points
        columns["forwards"][at] += planted.forwards
        columns["backwards"][at] += planted.backwards
    own = {name: tiles[name] for name in ("sample_id", "group_id", "label")}
    return pa.table({**own, **{name: pa.array(values) for name, values in columns.items()}}, schema=DIAGNOSTICS)
