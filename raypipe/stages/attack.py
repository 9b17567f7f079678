"""The attack stage: workers turn shards of clean tiles into shards of adversarial tiles, cell by cell."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from raypipe.attacks import AttackSettings
from raypipe.attacks.engine.cascade import generate_over_radii
from raypipe.attacks.engine.generate import Adversarials
from raypipe.base.norms import STORED_NORMS
from raypipe.evaluation.results.tables import parse_adversarials, tabulate_adversarials
from raypipe.experiment.schema import Resources
from raypipe.plan.cells import Cell
from raypipe.progress.stage import StageProgress
from raypipe.stages.metrics import count_attack, labels_of, note_success
from raypipe.stages.model_cache import ModelCache
from raypipe.stages.ray_map import Row
from raypipe.stages.shards import complete_cells, shard_row
from raypipe.stages.tile_selection import ChosenTiles
from raypipe.storage.schemas import ADVERSARIALS
from raypipe.storage.store import Store


def attack(cells: Sequence[Cell], store: Store, resources: Resources, progress: StageProgress) -> None:
    """Attack the tiles of `cells`, and publish each cell as soon as its last shard is written.

    Raises
    ------
    raypipe.base.errors.StageError
        If a shard fails.
    """
    chosen = ChosenTiles(store)

    def rows_of(cells: Sequence[Cell]) -> list[Row]:
        return [
            _shard_row(cell, shard, take, store)
            for cell in cells
            for shard, take in chosen.shards(cell.inputs["tiles"], cell.spec.split, cell.spec.tiles)
        ]

    def facts(cell: Cell) -> dict[str, Any]:
        found = _facts(cell, store)
        note_success(labels_of(progress.run, cell), found["success_rate"])
        return found

    def report(cell: Cell, row: Row) -> None:
        if not row["tiles"]:  # an empty shard, or one that was already written
            return
        passes = row["forwards"] + row["backwards"]
        counts = {"attacked": row["attacked"], "fooled": row["fooled"], "passes": passes}
        progress.advance(row["tiles"], cell, **counts, seconds=row["seconds"])
        if row["lowered_batch"]:
            progress.say(f"a worker ran out of memory: it continues with {row['lowered_batch']} tiles at once")

    first = [cell for cell in cells if not cell.spec.radii]
    after = [cell for cell in cells if cell.spec.radii]  # these read the results of the first wave
    for wave in (first, after):
        complete_cells(AttackShard(), rows_of(wave), wave, store, resources, progress, facts, report)


def _shard_row(cell: Cell, shard: str, take: str, store: Store) -> Row:
    """Return the facts that a worker needs about a shard, with the paths of other attacks' results on its tiles."""
    name = shard.rsplit("/", 1)[1]
    return shard_row(
        cell,
        shard,
        take,
        store,
        attack=cell.spec.attack.model_dump_json(),
        radii=json.dumps(cell.spec.radii),
        known=json.dumps([f"{store.artifact(other.kind, other.key)}/{name}" for other in cell.known]),
    )


@dataclass(frozen=True)
class Attacked:
    """The results of an attack on a shard, and the batch size after memory ran out, or 0 if it did not run out."""

    made: Adversarials
    lowered_batch: int


class AttackShard:
    """The attack on a shard of clean tiles."""

    def compute(self, models: ModelCache, row: Row, tiles: pa.Table, images: NDArray[np.uint8]) -> Attacked:
        """Attack the shard's tiles."""
        _, height, width, channels = images.shape
        model = models.prepared(row["model"], (channels, height, width))
        before = model.batch_size
        settings = TypeAdapter(AttackSettings).validate_json(row["attack"])
        labels = tiles["label"].to_numpy()
        known = [parse_adversarials(models.store.read_table(path)) for path in json.loads(row["known"])]
        made = generate_over_radii(model, images, labels, settings, json.loads(row["radii"]), known)
        if models.device.type == "cuda":
            torch.cuda.empty_cache()
        return Attacked(made, model.batch_size if model.batch_size < before else 0)

    def tabulate(self, row: Row, tiles: pa.Table, made: Attacked | None) -> tuple[pa.Table, Row]:
        """Return the table of adversarial tiles, and the figures of the attack."""
        if made is None:
            return ADVERSARIALS.empty_table(), {}
        result = made.made
        attacked = int((result.clean_prediction == tiles["label"].to_numpy()).sum())
        count_attack(json.loads(row["labels"]), attacked, result)
        figures = {
            "forwards": int(result.forwards.sum()),
            "backwards": int(result.backwards.sum()),
            "attacked": attacked,
            "fooled": int(result.success.sum()),
            "lowered_batch": made.lowered_batch,
        }
        return tabulate_adversarials(tiles, result), figures


def _facts(cell: Cell, store: Store) -> dict[str, Any]:
    columns = ["label", "clean_prediction", "success", *STORED_NORMS]
    table = pa.concat_tables(store.iter_tables(cell.kind, cell.key, columns=columns)).to_pandas()
    right = table[table["clean_prediction"] == table["label"]]
    fooled = table[table["success"]]
    median = {name: float(fooled[name].median()) if len(fooled) else None for name in STORED_NORMS}
    mean = {name: float(fooled[name].mean()) if len(fooled) else None for name in STORED_NORMS}
    return {
        "tiles": len(table),
        "attacked": len(right),
        "succeeded": len(fooled),
        "success_rate": len(fooled) / len(right) if len(right) else None,
        "median": median,
        "mean": mean,
    }
