"""The attack stage: shards of clean tiles become shards of adversarial tiles, cell by cell."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from raypipe.attacks.engine.cascade import generate_over_radii
from raypipe.attacks.engine.generate import Adversarials
from raypipe.base.norms import STORED_NORMS
from raypipe.evaluation.results.tables import parse_adversarials, tabulate_adversarials
from raypipe.execution.executor import Executor, complete_cells
from raypipe.execution.model_cache import ModelCache
from raypipe.execution.shards import Figures, ShardResult, ShardTask, build_shard_task
from raypipe.execution.tile_selection import TileSelector
from raypipe.plan.cells import Cell
from raypipe.progress.stage import StageProgress
from raypipe.storage.schemas import ADVERSARIALS
from raypipe.storage.store import Store


def attack(cells: Sequence[Cell], executor: Executor, progress: StageProgress) -> None:
    """Attack the tiles of `cells`, and publish each cell as soon as its last shard is written.

    Raises
    ------
    raypipe.base.errors.StageError
        If a shard fails.
    """
    store = executor.store
    selector = TileSelector(store)

    def report(cell: Cell, result: ShardResult) -> None:
        if not result.tiles:  # an empty shard, or one that was already written
            return
        passes = result.cost.forwards + result.cost.backwards
        attacked, fooled = result.figures["attacked"], result.figures["fooled"]
        seconds = result.cost.seconds
        progress.advance(result.tiles, cell, attacked=attacked, fooled=fooled, passes=passes, seconds=seconds)
        if lowered := result.figures["lowered_batch"]:
            progress.say(f"a worker ran out of memory: it continues with {lowered} tiles at once")

    first_wave = [cell for cell in cells if not cell.earlier_attacks]
    second_wave = [cell for cell in cells if cell.earlier_attacks]  # these read the results of the first wave
    for wave in (first_wave, second_wave):
        tasks = [
            _build_task(cell, shard, positions, store)
            for cell in wave
            for shard, positions in selector.shards(cell.inputs["tiles"], cell.spec.split, cell.spec.tiles)
        ]
        complete_cells(AttackShard(), tasks, wave, executor, progress, _collect_facts, report)


def _build_task(cell: Cell, shard: str, positions: tuple[int, ...] | None, store: Store) -> ShardTask:
    """Return the task on a shard, with the paths of other attacks' results on its tiles."""
    name = shard.rsplit("/", 1)[1]
    earlier = tuple(
        f"{store.artifact(attack_cell.kind, attack_cell.key)}/{name}" for attack_cell in cell.earlier_attacks
    )
    return build_shard_task(cell, shard, store, positions, earlier=earlier)


@dataclass(frozen=True)
class AttackOutcome:
    """The results of an attack on a shard, and the batch size after memory ran out, or 0 if it did not run out."""

    adversarials: Adversarials
    lowered_batch: int


class AttackShard:
    """The attack on a shard of clean tiles."""

    def compute(self, task: ShardTask, models: ModelCache, tiles: pa.Table, images: NDArray[np.uint8]) -> AttackOutcome:
        """Attack the shard's tiles."""
        _, height, width, channels = images.shape
        model = models.prepare(task.model, (channels, height, width))
        before = model.batch_size
        labels = tiles["label"].to_numpy()
        earlier = [parse_adversarials(models.store.read_table(path)) for path in task.earlier]
        clean = models.predict_clean(task.model, (task.shard, task.positions), images)
        adversarials = generate_over_radii(model, images, labels, task.spec.attack, task.spec.radii, earlier, clean)
        if models.device.type == "cuda":
            torch.cuda.empty_cache()
        return AttackOutcome(adversarials, model.batch_size if model.batch_size < before else 0)

    def tabulate(self, task: ShardTask, tiles: pa.Table, outcome: AttackOutcome | None) -> tuple[pa.Table, Figures]:  # noqa: ARG002
        """Return the table of adversarial tiles, and the figures of the attack."""
        if outcome is None:
            return ADVERSARIALS.empty_table(), {}
        adversarials = outcome.adversarials
        figures = {
            "forwards": int(adversarials.forwards.sum()),
            "backwards": int(adversarials.backwards.sum()),
            "attacked": int((adversarials.clean_prediction == tiles["label"].to_numpy()).sum()),
            "fooled": int(adversarials.success.sum()),
            "lowered_batch": outcome.lowered_batch,
        }
        return tabulate_adversarials(tiles, adversarials), figures


def _collect_facts(rows: pa.Table) -> dict[str, Any]:
    correct = pc.equal(rows["clean_prediction"], rows["label"])
    attacked = pc.sum(correct).as_py() or 0
    fooled = rows.filter(rows["success"])
    columns = {name: fooled[name].to_numpy() for name in STORED_NORMS}
    return {
        "tiles": rows.num_rows,
        "attacked": attacked,
        "succeeded": fooled.num_rows,
        "success_rate": fooled.num_rows / attacked if attacked else None,
        "median": {name: float(np.median(sizes)) if len(sizes) else None for name, sizes in columns.items()},
        "mean": {name: float(np.mean(sizes)) if len(sizes) else None for name, sizes in columns.items()},
    }
