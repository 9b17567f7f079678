"""The diagnose stage: an examination, tile by tile, of how an attack sees each model under test."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from raypipe.evaluation.checks.diagnostics import Diagnostics, diagnose_tiles, tabulate_diagnostics
from raypipe.execution.executor import Executor, complete_cells
from raypipe.execution.model_cache import ModelCache
from raypipe.execution.shards import Figures, ShardTask, build_shard_task
from raypipe.execution.tile_selection import TileSelector
from raypipe.plan.cells import Cell
from raypipe.progress.stage import StageProgress
from raypipe.storage.schemas import DIAGNOSTICS

BATCH = 64
"""Number of tiles per pass, if the experiment does not set it."""


def diagnose(cells: Sequence[Cell], executor: Executor, progress: StageProgress) -> None:
    """Compute the diagnostics of `cells`.

    Raises
    ------
    raypipe.base.errors.StageError
        If a shard fails.
    """
    store = executor.store
    selector = TileSelector(store)
    tasks = []
    for cell in cells:
        tiles, spec = cell.inputs["tiles"], cell.spec
        planted_positions = dict(selector.shards(tiles, "test", spec.planted_tiles))
        tasks += [
            build_shard_task(cell, shard, store, positions, planted=planted_positions.get(shard) or ())
            for shard, positions in selector.shards(tiles, "test", spec.tiles)
        ]
    complete_cells(DiagnoseShard(), tasks, cells, executor, progress)


class DiagnoseShard:
    """The diagnosis of a model on a shard of clean tiles."""

    def compute(self, task: ShardTask, models: ModelCache, tiles: pa.Table, images: NDArray[np.uint8]) -> Diagnostics:
        """Run the probe, and search for planted examples on the tiles that the task names."""
        positions = range(tiles.num_rows) if task.positions is None else task.positions
        planted_positions = set(task.planted)
        planted_rows = [row for row, position in enumerate(positions) if position in planted_positions]
        return diagnose_tiles(
            models.network(task.model),
            images,
            tiles["label"].to_numpy().copy(),  # PyTorch warns of arrays that it must not change
            task.spec.planted,
            np.array(planted_rows, dtype=np.int64),
            batch_size=max(2, models.batch_size or BATCH),
            device=models.device,
            seed=task.spec.seed,
        )

    def tabulate(self, task: ShardTask, tiles: pa.Table, diagnostics: Diagnostics | None) -> tuple[pa.Table, Figures]:  # noqa: ARG002
        """Return one row per tile, and the numbers of forward and backward passes."""
        if diagnostics is None:
            return DIAGNOSTICS.empty_table(), {}
        table = tabulate_diagnostics(tiles, diagnostics)
        return table, {name: pc.sum(table[name]).as_py() for name in ("forwards", "backwards")}
