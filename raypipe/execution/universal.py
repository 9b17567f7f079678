"""The stages pattern and perturb: universal perturbations of models, and predictions of tiles with them."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from raypipe.attacks.universal import Pattern, train_pattern
from raypipe.data.tiles import decode_images
from raypipe.evaluation.predict import predict
from raypipe.evaluation.results.patterns import apply_pattern, parse_pattern
from raypipe.evaluation.statistics.metrics import predict_labels
from raypipe.execution.executor import Executor, complete_cells
from raypipe.execution.model_cache import ModelCache
from raypipe.execution.shards import Figures, ShardResult, ShardTask, build_shard_task
from raypipe.execution.tile_selection import TileSelector
from raypipe.models.precision import full_precision
from raypipe.plan.cells import Cell
from raypipe.progress.stage import StageProgress
from raypipe.storage.schemas import PATTERNS, PERTURBED

BATCH = 64
"""Number of tiles per forward pass, if the experiment does not set it."""


def find_patterns(cells: Sequence[Cell], executor: Executor, progress: StageProgress) -> None:
    """Find the universal perturbation of each cell's model. One task has all tiles of a cell.

    Raises
    ------
    raypipe.base.errors.StageError
        If a task fails.
    """
    store = executor.store
    selector = TileSelector(store)

    def report(cell: Cell, result: ShardResult) -> None:
        progress.advance(1, cell, seconds=result.cost.seconds)

    tasks = []
    for cell in cells:
        (shard, positions), *further = selector.shards(cell.inputs["tiles"], "train", cell.spec.universal.tiles)
        tasks.append(build_shard_task(cell, shard, store, positions, further=tuple(further)))
    complete_cells(PatternShard(), tasks, cells, executor, progress, report=report)


def perturb(cells: Sequence[Cell], executor: Executor, progress: StageProgress) -> None:
    """Compute the predictions of `cells` for tiles with a universal perturbation.

    Raises
    ------
    raypipe.base.errors.StageError
        If a shard fails.
    """
    store = executor.store
    selector = TileSelector(store)
    tasks = []
    for cell in cells:
        pattern = cell.inputs["pattern"]
        (path,) = store.shards(pattern.kind, pattern.key)
        tasks += selector.list_test_tasks(cell, earlier=(path,))
    complete_cells(PerturbShard(), tasks, cells, executor, progress)


class PatternShard:
    """The universal perturbation of a model, from training tiles of several shards."""

    def compute(self, task: ShardTask, models: ModelCache, tiles: pa.Table, images: NDArray[np.uint8]) -> Pattern:
        """Return the pattern."""
        every, all_images = [tiles], [images]
        for path, positions in task.further:
            table = models.store.read_table(path)
            every.append(table if positions is None else table.take(list(positions)))
            all_images.append(decode_images(every[-1]))
        labels = np.concatenate([table["label"].to_numpy() for table in every])
        _, height, width, channels = images.shape
        model = models.prepare(task.model, (channels, height, width))
        with full_precision():
            return train_pattern(model, np.concatenate(all_images), labels, task.spec.universal, task.spec.seed)

    def tabulate(self, task: ShardTask, tiles: pa.Table, pattern: Pattern | None) -> tuple[pa.Table, Figures]:  # noqa: ARG002
        """Return a table with the pattern as its only row, and the numbers of passes."""
        if pattern is None:
            return PATTERNS.empty_table(), {}
        row = {
            "shape": pattern.change.shape,
            "change": pattern.change.ravel(),
            "random": pattern.random.ravel(),
            "fooled": pattern.fooled,
            "random_fooled": pattern.random_fooled,
        }
        figures = {"forwards": pattern.forwards, "backwards": pattern.backwards}
        return pa.Table.from_pylist([row], schema=PATTERNS), figures


class PerturbShard:
    """The predictions of a model for clean tiles, and for the same tiles with a universal and with a random pattern."""

    def compute(
        self,
        task: ShardTask,
        models: ModelCache,
        tiles: pa.Table,  # noqa: ARG002  required by the protocol
        images: NDArray[np.uint8],
    ) -> NDArray[np.int64]:
        """Return the predicted classes, (n, 3): clean, with the pattern, and with the random one."""
        change, random = parse_pattern(models.store.read_table(task.earlier[0]))
        model, batch = models.network(task.model), models.batch_size or BATCH
        shown = (images, apply_pattern(images, change), apply_pattern(images, random))
        return np.stack([predict_labels(predict(model, each, batch, models.device)) for each in shown], axis=1)

    def tabulate(
        self,
        task: ShardTask,  # noqa: ARG002  required by the protocol
        tiles: pa.Table,
        predicted: NDArray[np.int64] | None,
    ) -> tuple[pa.Table, Figures]:
        """Return the predictions with the columns that identify their tiles, and the number of forward passes."""
        if predicted is None:
            return PERTURBED.empty_table(), {"forwards": 0}
        identity = {name: tiles[name] for name in ("sample_id", "group_id", "label")}
        names = ("clean_prediction", "prediction", "random_prediction")
        columns = dict(zip(names, predicted.T, strict=True))
        return pa.table({**identity, **columns}, schema=PERTURBED), {"forwards": predicted.size}
