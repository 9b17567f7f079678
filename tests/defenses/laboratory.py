"""An undefended model on synthetic tissue in a store, and its real hardening without a cluster."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray

from raypipe.data.reading.png import decode_png, encode_png
from raypipe.data.tissue import render_tile
from raypipe.defenses.base import Defense, StaticTraining
from raypipe.models.artifacts import load_model
from raypipe.models.classifier import Classifier, Model
from raypipe.plan.cells import AttackSpec, Cell, HardenSpec, IngestSpec, TrainSpec
from raypipe.stages.harden import _harden_cell
from raypipe.stages.train import _train_cell
from raypipe.stages.workers import FitCheckpoint, SoleWorker
from raypipe.storage.schemas import ADVERSARIALS, TILES
from raypipe.storage.store import Store
from raypipe.training.examples import read_examples
from raypipe.training.fit import EpochRecord
from raypipe.training.recipe import Recipe

SIZE = 32
LABELS = ("colon_n", "lung_aca")
HELD_OUT = 0.2


@cache
def draw(label: str, source: int) -> bytes:
    """Return a stored tile. Laboratories share it, because drawing it takes longer than training a small network."""
    return encode_png(render_tile(label, source, 0, size=SIZE, seed=0))


class LostError(Exception):
    """The error that ends a worker in the middle of a fit."""


class LosableWorker(SoleWorker):
    """A worker that is lost after an epoch, and continues from the checkpoint that Ray Train would keep."""

    def __init__(self, lost_after: int | None = None) -> None:
        super().__init__(gpu=False)
        self.lost_after = lost_after
        self.kept: FitCheckpoint | None = None

    def find_last_checkpoint(self, cell: Cell) -> FitCheckpoint | None:
        return self.kept

    def report(self, cell: Cell, record: EpochRecord, save: Callable[[], FitCheckpoint]) -> None:
        self.kept = save()
        if record.epoch == self.lost_after:
            self.lost_after = None
            raise LostError


class Laboratory:
    """Tiles, an undefended model of one backbone, and perturbed tiles, in a store of their own."""

    def __init__(self, folder: Path, backbone: str, epochs: int, sources: int = 24) -> None:
        torch.set_num_threads(1)
        self.store = Store.open(str(folder))
        spec = IngestSpec(
            scaled_decoding=False,
            fingerprint="drawn",
            labels=LABELS,
            size=SIZE,
            split="group",
            assignment="",
            shard_size=99,
            seed=0,
        )
        self.tiles = Cell("ingest", "tiles", spec)
        for split, first in (("train", 0), ("test", 1000)):
            rows = [
                {
                    "sample_id": f"{label}-{first + source}",
                    "image": {"bytes": draw(label, first + source)},
                    "label": number,
                    "group_id": f"{label}-{(first + source) // 2}",
                }
                for source in range(sources)
                for number, label in enumerate(LABELS)
            ]
            self._keep(f"{self.tiles.key}/{split}", "tiles", rows, TILES)
        recipe = Recipe(recipe="paper", epochs=epochs, batch_size=16, learning_rate=2e-3, validation=HELD_OUT)
        train = TrainSpec(model=Model(name=backbone), recipe=recipe, seed=0)
        self.trained = Cell("train", backbone, train, {"tiles": self.tiles})
        _train_cell(self.trained, self.store, SoleWorker(gpu=False), 0)
        self.perturbed = [self._perturbed(number) for number in range(2)]

    def _keep(self, path: str, kind: str, rows: list[dict[str, object]], schema: pa.Schema) -> None:
        self.store.write_table(f"artifacts/{kind}/{path}/part-0.parquet", pa.Table.from_pylist(rows, schema=schema))

    def _perturbed(self, number: int) -> Cell:
        """Return training tiles of one gray each, which hardening cannot distinguish from the results of an attack."""
        spec = AttackSpec(attack={"name": "deepfool", "max_iterations": 1 + number}, split="train")
        cell = Cell("attack", f"perturbed {number}", spec, {"tiles": self.tiles, "model": self.trained})
        rows = self.store.read_table(self.store.shards("tiles", self.tiles.key, "train")[0]).to_pylist()
        gray = {"bytes": encode_png(np.full((SIZE, SIZE, 3), 80 + 80 * number, np.uint8))}
        self._keep(cell.key, cell.kind, [row | {"image": gray} for row in rows], ADVERSARIALS)
        return cell

    @property
    def clean(self) -> Classifier:
        return load_model(self.store, self.trained.key)[0]

    def test_tiles(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        table = self.store.read_table(self.store.shards("tiles", self.tiles.key, "test")[0])
        images = np.stack([decode_png(image["bytes"]) for image in table["image"].to_pylist()])
        return images, table["label"].to_numpy().copy()

    def cell(self, defense: Defense, seed: int = 0) -> Cell:
        inputs = {"tiles": self.tiles, "model": self.trained}
        if isinstance(defense, StaticTraining):
            made = self.perturbed if defense.mixes_attacks else self.perturbed[:1]
            inputs |= {f"adversarials {number}": cell for number, cell in enumerate(made)}
        recipe = Recipe(batch_size=16, validation=HELD_OUT)
        return Cell("harden", "hardened", HardenSpec(defense=defense, recipe=recipe, seed=seed), inputs)

    def harden(self, defense: Defense, lost_after: int | None = None, seed: int = 0) -> Classifier:
        """Harden with the code of the stage; `lost_after` is the epoch after which the worker is lost."""
        cell, worker = self.cell(defense, seed), LosableWorker(lost_after)
        self.store.remove(self.store.artifact(cell.kind, cell.key))
        if lost_after:
            with pytest.raises(LostError):
                _harden_cell(cell, self.store, worker, 0)
        _harden_cell(cell, self.store, worker, 0)
        return load_model(self.store, cell.key)[0]

    def held_out(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        _, held = read_examples(self.store, "tiles", self.tiles.key, "train").hold_out(HELD_OUT, 0)
        return np.stack([decode_png(image) for image in held.images]), np.array(held.labels)

    def history(self, defense: Defense) -> list[dict[str, float]]:
        manifest = self.cell(defense).manifest(self.store)
        assert manifest
        return list(manifest["history"])
