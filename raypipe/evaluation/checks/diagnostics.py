"""Diagnostics of tiles, and the table that stores them.

They have a module of their own, so that workers that run no diagnostics do not import the binarization test.
"""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from raypipe.attacks.engine.norms import BoundedAttack
from raypipe.evaluation.checks.evidence import PlantedSearch, Probe
from raypipe.evaluation.checks.planted import run_binarization_test
from raypipe.evaluation.checks.probe import probe
from raypipe.storage.schemas import DIAGNOSTICS


class Diagnostics(NamedTuple):
    """The diagnostics of tiles, and the positions of the tiles that got a planted adversarial example."""

    probe: Probe
    planted: PlantedSearch | None
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
) -> Diagnostics:
    """Probe a model tile by tile, and test if an attack finds adversarial examples that are planted in some tiles.

    See `raypipe.evaluation.checks.probe` and `raypipe.evaluation.checks.planted`.

    Parameters
    ----------
    model, images, labels, batch_size, device
        See `raypipe.evaluation.checks.probe.probe`.
    attack
        Attack that must find the planted adversarial examples.
    positions
        Positions of the tiles in which adversarial examples are planted.
    seed
        Seed of the planted points.
    """
    planted = None
    if len(positions):
        planted = run_binarization_test(model, images[positions], attack, batch_size, device, seed=seed)
    return Diagnostics(probe(model, images, labels, batch_size, device), planted, positions)


def tabulate_diagnostics(tiles: pa.Table, diagnostics: Diagnostics) -> pa.Table:
    """Return the diagnostics as a table with one row per tile."""
    figures, planted, at = diagnostics
    count = tiles.num_rows
    columns: dict[str, NDArray[Any]] = {
        name: getattr(figures, name).copy() for name in DIAGNOSTICS.names if hasattr(figures, name)
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
    identity = {name: tiles[name] for name in ("sample_id", "group_id", "label")}
    return pa.table({**identity, **{name: pa.array(values) for name, values in columns.items()}}, schema=DIAGNOSTICS)
