"""The whole pipeline on a real cluster of two nodes."""

import io
import json
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from raypipe.base.errors import ConfigError
from raypipe.cli.app import app, main
from raypipe.data.reading.png import decode_png, encode_png
from raypipe.data.tissue import render_tile
from raypipe.evaluation.results.result import RunResult, load_result
from raypipe.experiment.schema import Experiment
from raypipe.plan.listing import prepare
from raypipe.progress.stage import stage_progress
from raypipe.progress.state import read_state
from raypipe.stages.train import train
from raypipe.storage.schemas import ADVERSARIALS, PREDICTIONS, TILES
from raypipe.storage.store import Store
from tests.stages.conftest import TINY, Finished, run

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("ray"), pytest.mark.usefixtures("two_nodes")]
Build = Callable[..., Experiment]


def files(experiment: Experiment) -> dict[str, int]:
    root = Path(experiment.storage) / "artifacts"
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


def artifacts(experiment: Experiment, kind: str) -> list[dict[str, Any]]:
    store = Store.open(experiment.storage)
    return [store.manifest(kind, key) or {} for key in store.list_directories(f"artifacts/{kind}")]


def test_a_run_gives_every_row_table_and_cost(finished: Finished) -> None:
    experiment, result, text = finished.experiment, finished.result, finished.text
    rows = result.records.to_pylist()

    attacks = ("deepfool", "saliency_map")
    clean, *hardened = ("convnet", *(f"convnet/{a}/adversarial_training" for a in attacks))
    assert [(row["subject"], row["protocol"], row["attack"]) for row in rows] == [
        (clean, "clean", None),
        (clean, "clean on attacked tiles", None),
        *((clean, "white-box", attack) for attack in attacks),
        (clean, "worst case", None),
    ] + [
        (subject, protocol, attack)
        for subject in hardened
        for protocol, attack in (
            ("clean", None),
            ("clean on attacked tiles", None),
            *((protocol, attack) for attack in attacks for protocol in ("adaptive", "static")),
            ("worst case", None),
        )
    ]
    assert "Table 1" in text
    assert "Table 2" in text
    assert "SYNTHETIC" in text
    assert result.location in text.replace("\n", "")
    assert load_result(Store.open(experiment.storage), "tiny").records.equals(result.records)

    check_tables(experiment, rows)
    check_costs(result)


def test_what_changing_one_attack_recomputes(finished: Finished, tiny: Build) -> None:
    experiment = tiny()
    shutil.copytree(finished.experiment.storage, experiment.storage)
    before = files(experiment)
    again, text = run(experiment)
    assert files(experiment) == before
    assert again.records.equals(finished.result.records)
    assert "tiles to do" not in text

    other = tiny(attacks={**experiment.model_dump()["attacks"], "deepfool": {"max_iterations": 4}})
    run(other)
    after = files(other)
    assert {path: after[path] for path in before} == before
    new = sorted({path.split("/")[0] + "/" + path.split("/")[1] for path in set(after) - set(before)})
    # One model is hardened again. The adaptive tiles of the changed attack on the other one are new too.
    assert Counter(path.split("/")[0] for path in new) == {"adversarials": 5, "model": 1, "predictions": 8}


def check_tables(experiment: Experiment, rows: list[dict[str, Any]]) -> None:
    """Check that the stored tables are plain Parquet, name every tile once, and agree with the results."""
    root = Path(experiment.storage) / "artifacts"
    (tiles_key,) = {row["tiles_key"] for row in rows if row["protocol"] == "clean"}
    tiles = pq.ParquetDataset(root / "tiles" / tiles_key / "test").read()
    assert tiles.schema.equals(TILES)
    train = pq.ParquetDataset(root / "tiles" / tiles_key / "train").read()
    ids = tiles["sample_id"].to_pylist()
    assert len(ids) + train.num_rows == len({*ids, *train["sample_id"].to_pylist()}) == 40
    assert not set(tiles["group_id"].to_pylist()) & set(train["group_id"].to_pylist())
    assert decode_png(tiles["image"][0]["bytes"].as_py()).shape == (32, 32, 3)

    for row in rows:
        if row["protocol"] == "worst case":
            continue
        predictions = pq.ParquetDataset(root / "predictions" / row["predictions_key"]).read()
        assert predictions.schema.equals(PREDICTIONS)
        assert sorted(predictions["sample_id"].to_pylist()) == sorted(ids)
        logits = np.array(predictions["logits"].to_pylist())
        assert row["accuracy"] == (logits.argmax(1) == predictions["label"].to_numpy()).mean()
        if row["protocol"] in ("white-box", "adaptive"):
            adversarials = pq.ParquetDataset(root / "adversarials" / row["tiles_key"]).read().to_pandas()
            assert list(adversarials.columns) == ADVERSARIALS.names
            standing = (adversarials["clean_prediction"] == adversarials["label"]) & ~adversarials["success"]
            assert row["accuracy"] == standing.mean()
    models = artifacts(experiment, "model")
    assert len(models) == 1 + 2
    assert [model["held_out"] for model in models] == 3 * [{"tiles": 10, "groups": 5, "missing": []}]
    assert all(0 <= epoch["validation_accuracy"] <= 1 for model in models for epoch in model["history"])
    assert not any("batch_statistics" in model for model in models), "the network has none"


def check_costs(result: RunResult) -> None:
    """Check that every cell records its cost, in passes that can be counted from its tiles."""
    costs = result.costs.to_pandas()
    stages = ("ingest", "train", "attack", "harden", "evaluate")
    assert sorted(set(costs["stage"])) == sorted(stages)
    assert (costs["seconds"] > 0).all()
    assert set(costs["device"]) == {"cpu"}
    passes = {stage: costs[costs["stage"] == stage][["forwards", "backwards"]].to_numpy() for stage in stages}
    tests = next(row["tiles"] for row in result.records.to_pylist())
    trains = 40 - tests
    assert not passes["ingest"].any()
    assert (passes["evaluate"] == [tests, 0]).all()
    # There are two epochs. Of the three groups of two tiles per class, one is held out, and only passes forward.
    assert (passes["train"] == [2 * trains, 2 * (trains - 10)]).all()
    assert (passes["attack"] > 0).all()
    attacks = costs[costs["stage"] == "attack"].set_index("key")
    for row in result.records.to_pylist():
        if row["protocol"] in ("white-box", "adaptive"):
            assert attacks.loc[row["tiles_key"], "forwards"] == row["forwards"]


@pytest.mark.full
def test_a_search_keeps_the_candidate_that_was_best_on_held_out_tiles(tiny_trained: Build) -> None:
    search = {"learning_rate": [1e-3, 1e-6]}
    experiment = tiny_trained(
        attacks={"deepfool": {"max_iterations": 5}},
        defenses={"adversarial_training": {"epochs": 1, "search": search}},
    )
    _, text = run(experiment)
    chosen = [manifest for manifest in artifacts(experiment, "model") if "chosen" in manifest]
    assert len(chosen) == 1
    scores = {entry["key"]: np.mean(list(entry["validation"].values())) for entry in chosen[0]["candidates"]}
    assert len(scores) == 2
    assert scores[chosen[0]["chosen"]] == max(scores.values())
    assert set(chosen[0]["candidates"][0]["validation"]) == {"clean", "perturbed"}
    assert "of 2 candidates" in text


def train_only(experiment: Experiment) -> None:
    """Run the training of an experiment whose tiles exist."""
    prepared = prepare(experiment)
    with stage_progress(Console(file=io.StringIO()), "train", experiment.train.epochs, "epochs") as progress:
        train(prepared.plan.stage("train"), prepared.store, experiment.resources, progress)


@pytest.mark.full
def test_a_lost_worker_costs_no_finished_epoch(tiny_trained: Build, tmp_path: Path) -> None:
    """Kill rank 0 after an epoch: a new group continues from there and ends like an undisturbed one."""
    changes: dict[str, Any] = {
        "models": ["shufflenet_v2_x1_0"],  # slow enough to be killed during its epochs
        "train": {"epochs": 12, "batch_size": 8},
        "attacks": {"deepfool": {"max_iterations": 1}},
    }
    control = tiny_trained(**changes, defenses=[], storage=str(tmp_path / "control"))
    train_only(control)
    experiment = tiny_trained(**changes, defenses=[])
    seen: dict[int, float] = {}
    killed: list[int] = []

    def kill_once() -> None:
        while not killed:
            for path in Path(experiment.storage).glob("progress/[!.]*.json"):
                progress = json.loads(path.read_text())
                seen[progress["epoch"]] = progress["seconds"]
                if progress["epoch"] >= 6:
                    os.kill(progress["pid"], signal.SIGKILL)
                    killed.append(progress["epoch"])
            time.sleep(0.02)

    killer = threading.Thread(target=kill_once, daemon=True)
    killer.start()
    run(experiment)
    assert killed
    assert killed[0] < 12
    model, undisturbed = (
        next(manifest for manifest in artifacts(each, "model") if manifest["name"].startswith("shufflenet"))
        for each in (experiment, control)
    )
    for name in ("loss", "validation_loss"):
        losses = [[epoch[name] for epoch in manifest["history"]] for manifest in (model, undisturbed)]
        assert losses[0] == losses[1]
    assert model["batch_statistics"] == {"tiles": 20, "inputs": "training tiles"}, "of both workers"
    took = {epoch["epoch"]: epoch["seconds"] for epoch in model["history"]}
    kept = [epoch for epoch, seconds in seen.items() if took.get(epoch) == seconds]
    assert {1, 2, 3} <= set(kept), f"trained again: {set(seen) - set(kept)} of {set(seen)}"


def test_art_s_own_attack_runs_in_the_grid_and_a_shard_that_fails_is_told(
    tiny_trained: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = {"theirs": {"backend": "art", "name": "deepfool", "parameters": {"max_iter": 5}}}
    experiment = tiny_trained(attacks=theirs, defenses=[])
    result, text = run(experiment)
    assert [row["protocol"] for row in result.records.to_pylist()] == [
        "clean",
        "clean on attacked tiles",
        "white-box",
        "worst case",
    ]
    assert "theirs" in text

    storage = Path(experiment.storage)
    for shard in storage.glob("artifacts/tiles/*/test/*.parquet"):
        shard.write_bytes(b"not parquet")
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump({**TINY, "storage": str(storage), "attacks": {"deepfool": {}}, "defenses": []}))
    monkeypatch.setattr("sys.argv", ["raypipe", "run", str(file)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    (error,) = (line for line in capsys.readouterr().err.splitlines() if "attack failed" in line)
    assert "convnet/deepfool/test: StoreError" in error
    assert "cannot be read: " in error
    assert str(storage / "artifacts" / "tiles") in error
    assert "run again to continue" in error
    state = read_state(Store.open(str(storage)), "tiny")
    assert state.state == "failed"
    assert "convnet/deepfool/test" in state.error
    attack = next(stage for stage in state.stages if stage.name == "attack")
    assert (attack.state, attack.whole.failed) == ("failed", 1)
    told = CliRunner().invoke(app, ["status", "tiny", "--storage", str(storage)]).output
    assert "✗ attack" in told
    assert "1 failed" in told
    assert "StoreError" in told


def test_files_that_cannot_be_read_are_set_aside_and_counted(tiny: Build, tmp_path: Path) -> None:
    root = tmp_path / "tiles"
    for label in ("colon_aca", "colon_n"):
        (root / label).mkdir(parents=True)
        for number in range(6):
            Image.fromarray(render_tile(label, number, 0, size=32, seed=0)).save(root / label / f"{number}.png")
    (root / "colon_n" / "empty.png").touch()
    (root / "colon_n" / "notes.txt").write_text("not an image")
    whole = encode_png(render_tile("colon_n", 9, 0, size=32, seed=0))
    (root / "colon_n" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "stray.png").write_bytes(whole)

    experiment = tiny(
        data={"source": "folder", "path": str(root)},
        tiles={"size": 32, "shard_size": 4, "split": "paper"},
        train={"epochs": 1, "batch_size": 8},
        attacks={"deepfool": {"max_iterations": 3}},
        defenses=[],
        resources={**TINY["resources"], "train_workers": 1},
    )
    result, text = run(experiment)
    (manifest,) = artifacts(experiment, "tiles")
    assert manifest["tiles"] == 12
    assert manifest["rejected"] == 4
    assert sum(manifest["reasons"].values()) == 4
    assert sum(sum(counts.values()) for counts in manifest["counts"].values()) == 12
    assert "rejected" in text
    assert "LEAKY" in text
    assert all(row["stamps"][0].startswith("LEAKY") for row in result.records.to_pylist())


def test_a_group_on_both_sides_stops_the_run_before_anything_is_computed(tiny: Build, tmp_path: Path) -> None:
    experiment = tiny()
    source = [f"{label}/{n:04}/{s:02}.png" for label in ("colon_aca", "colon_n", "lung_aca", "lung_n", "lung_scc")
              for n in range(4) for s in range(2)]  # fmt: skip
    splits = tmp_path / "splits.csv"
    splits.write_text(
        "filename,split\n" + "".join(f"{path},{'train' if path.endswith('00.png') else 'test'}\n" for path in source)
    )
    experiment = tiny(tiles={"size": 32, "splits": str(splits)})
    with pytest.raises(ConfigError, match="20 groups have tiles in both train and test"):
        run(experiment)
    assert not (Path(experiment.storage) / "artifacts").exists()
