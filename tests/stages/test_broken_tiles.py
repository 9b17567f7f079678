"""A model without finite logits for some tile: the tile is rejected, and the figures of the others stay equal."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from ray import cloudpickle
from torch import Tensor, nn

from raypipe.data.tissue import render_tile
from raypipe.execution import model_cache as loaded
from raypipe.execution.attack import AttackShard
from raypipe.execution.evaluate import PredictShard
from raypipe.experiment.schema import Experiment
from raypipe.models.artifacts import load_model
from raypipe.storage.store import Store
from tests.stages.conftest import run

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("two_nodes")]
ATTACKS: dict[str, Any] = {"fgsm": {"eps": "2/255"}, "deepfool": {"max_iterations": 3}}


class BrokenOnWhite(nn.Module):
    """A model whose numbers overflow on a white tile."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        white = images.flatten(1).mean(1, keepdim=True) > 0.95
        return torch.where(white, torch.nan, self.model(images))


def load_broken(store: Store, key: str) -> Any:
    model, card = load_model(store, key)
    return BrokenOnWhite(model).eval(), card


class AttackBroken(AttackShard):
    def compute(self, *arguments: Any) -> Any:
        with mock.patch.object(loaded, "load_model", load_broken):
            return super().compute(*arguments)


class PredictBroken(PredictShard):
    def compute(self, *arguments: Any) -> Any:
        with mock.patch.object(loaded, "load_model", load_broken):
            return super().compute(*arguments)


def stored(experiment: Experiment, kind: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of every artifact without its times."""
    store = Store.open(experiment.storage)
    tables = {
        key: pa.concat_tables(store.iter_tables(kind, key)) for key in store.list_directories(f"artifacts/{kind}")
    }
    kept = {key: [name for name in table.column_names if name != "seconds"] for key, table in tables.items()}
    return {key: table.select(kept[key]).to_pylist() for key, table in tables.items()}


def test_a_tile_without_finite_logits_is_counted_and_changes_no_other_tile(
    tiny: Callable[..., Experiment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this module
    root, sides = tmp_path / "tiles", {}
    for label in ("colon_aca", "colon_n"):
        (root / label).mkdir(parents=True)
        for number in range(8):
            Image.fromarray(render_tile(label, number, 0, size=32, seed=0)).save(root / label / f"{number}.png")
            sides[f"{label}/{number}.png"] = "train" if number < 4 else "test"
    Image.fromarray(np.full((32, 32, 3), 255, np.uint8)).save(root / "colon_n" / "white.png")
    sides["colon_n/white.png"] = "test"
    (tmp_path / "splits.csv").write_text("filename,split\n" + "".join(f"{k},{v}\n" for k, v in sides.items()))
    changes: dict[str, Any] = {
        "data": {"source": "folder", "path": str(root)},
        "tiles": {"size": 32, "shard_size": 4, "split": "paper", "splits": str(tmp_path / "splits.csv")},
        "train": {"epochs": 4, "batch_size": 4},
        "attacks": ATTACKS,
        "defenses": [],
        # One tile at a time, because pixels depend on the size of a batch by float noise.
        "resources": {"attack_batch": 1},
    }
    sound = tiny(**changes, storage=str(tmp_path / "sound"))
    before, text = run(sound)
    assert {row["broken"] for row in before.records.to_pylist()} <= {0, None}
    assert "not finite" not in text

    broken = tiny(**changes, storage=str(tmp_path / "broken"))
    for kind in ("tiles", "model"):
        shutil.copytree(tmp_path / "sound" / "artifacts" / kind, tmp_path / "broken" / "artifacts" / kind)
    monkeypatch.setattr("raypipe.execution.attack.AttackShard", AttackBroken)
    monkeypatch.setattr("raypipe.execution.evaluate.PredictShard", PredictBroken)
    after, text = run(broken)

    rows = [row for row in after.records.to_pylist() if row["protocol"] != "worst case"]
    attacks = [*ATTACKS, "autoattack linf"]
    assert [row["attack"] for row in rows] == [None, None, *attacks], "all clean tiles, and those that are attacked"
    assert {row["broken"] for row in rows} == {1}
    assert {row["tiles"] for row in rows} == {9}
    for tested in ("clean tiles", *attacks):
        assert f"convnet: on {tested}, 1 of 9 tiles have logits that are not finite" in text

    white = set()
    for kind in ("adversarials", "predictions"):
        ours, theirs = stored(broken, kind), stored(sound, kind)
        assert ours.keys() == theirs.keys()
        for key, tiles in ours.items():
            changed = [tile for tile, other in zip(tiles, theirs[key], strict=True) if not same(tile, other)]
            white |= {tile["sample_id"] for tile in changed}
            for tile in changed:
                assert tile.get("clean_prediction", -1) == -1
                assert not tile.get("success", False)
                assert "logits" not in tile or not np.isfinite(tile["logits"]).any()
    assert len(white) == 1


def same(tile: dict[str, Any], other: dict[str, Any]) -> bool:
    logits = [one.pop("logits", []) for one in (dict(tile), dict(other))]
    rest = [{name: value for name, value in one.items() if name != "logits"} for one in (tile, other)]
    return rest[0] == rest[1] and np.array_equal(*logits)
