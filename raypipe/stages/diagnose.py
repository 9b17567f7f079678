"""The diagnose stage: workers examine, tile by tile, how an attack sees each model under test."""

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import TypeAdapter

from raypipe.attacks.engine.norms import BoundedAttack
from raypipe.evaluation.checks.diagnostics import Diagnostics, diagnose_tiles, tabulate_diagnostics
from raypipe.evaluation.settings import AnyBounded
from raypipe.experiment.schema import Resources
from raypipe.plan.cells import Cell
from raypipe.progress.stage import StageProgress
from raypipe.stages.model_cache import ModelCache
from raypipe.stages.ray_map import Row
from raypipe.stages.shards import complete_cells, shard_row
from raypipe.stages.tile_selection import ChosenTiles
from raypipe.storage.schemas import DIAGNOSTICS
from raypipe.storage.store import Store

BATCH = 32
"""Number of tiles per pass, if the experiment does not set it."""


def diagnose(cells: Sequence[Cell], store: Store, resources: Resources, progress: StageProgress) -> None:
    """Compute the diagnostics of `cells`.

    Raises
    ------
    raypipe.base.errors.StageError
        If a shard fails.
    """
    chosen = ChosenTiles(store)
    rows = []
    for cell in cells:
        tiles, spec = cell.inputs["tiles"], cell.spec
        planted = dict(chosen.shards(tiles, "test", spec.planted_tiles))
        rows += [
            shard_row(
                *(cell, shard, take, store),
                attack=spec.planted.model_dump_json(),
                seed=spec.seed,
                planted=planted.get(shard, "[]"),
            )
            for shard, take in chosen.shards(tiles, "test", spec.tiles)
        ]

    complete_cells(DiagnoseShard(), rows, cells, store, resources, progress)


class DiagnoseShard:
    """The diagnosis of a model on a shard of clean tiles."""

    def compute(self, models: ModelCache, row: Row, tiles: pa.Table, images: NDArray[np.uint8]) -> Diagnostics:
        """Run the probe, and search for planted examples on the tiles that `row` names."""
        model, device = models.classifier(row["model"]), models.device
        batch = max(2, models.resources.attack_batch or BATCH)
        taken = json.loads(row["take"]) if row["take"] else range(tiles.num_rows)
        wanted = set(json.loads(row["planted"]))
        positions = np.array([at for at, place in enumerate(taken) if place in wanted], dtype=np.int64)
        attack: BoundedAttack = TypeAdapter(AnyBounded).validate_json(row["attack"])
        labels = tiles["label"].to_numpy()
        return diagnose_tiles(
            model, images, labels, attack, positions, batch_size=batch, device=device, seed=row["seed"]
        )

    def tabulate(self, row: Row, tiles: pa.Table, made: Diagnostics | None) -> tuple[pa.Table, Row]:  # noqa: ARG002
        """Return one row per tile, and the numbers of forward and backward passes."""
        if made is None:
            return DIAGNOSTICS.empty_table(), {}
        table = tabulate_diagnostics(tiles, made)
        return table, {name: pc.sum(table[name]).as_py() for name in ("forwards", "backwards")}
