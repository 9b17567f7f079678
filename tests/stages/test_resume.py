"""A run killed with SIGKILL in each stage, and run again: nothing finished is lost or computed twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("ray"), pytest.mark.timeout(900)]
PATIENCE_SECONDS = 240


def start(experiment: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "raypipe.cli", "run", str(experiment)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def kill_when(process: "subprocess.Popen[str]", reached: Callable[[], bool]) -> None:
    """SIGKILL the driver alone: what it started has to notice by itself."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "the stage was never reached"
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def finished(store: Path, stage: str) -> dict[str, int]:
    """When each published artifact's files were written."""
    manifests = [
        path for path in store.glob("artifacts/*/*/_manifest.json") if json.loads(path.read_text())["stage"] == stage
    ]
    return {
        str(file): file.stat().st_mtime_ns for path in manifests for file in path.parent.rglob("*") if file.is_file()
    }


def everything_finished(store: Path) -> dict[str, int]:
    stages = ("ingest", "train", "attack", "harden", "diagnose", "evaluate")
    return {file: when for stage in stages for file, when in finished(store, stage).items()}


def results(store: Path) -> list[dict[str, Any]]:
    return pq.read_table(store / "runs" / "tiny" / "records.parquet").drop_columns("seconds").to_pylist()


def test_a_run_killed_in_every_stage_ends_like_an_undisturbed_one(
    tmp_path: Path, tiny_settings: dict[str, Any]
) -> None:
    store, undisturbed = tmp_path / "store", tmp_path / "undisturbed"
    experiment, control = tmp_path / "tiny.yaml", tmp_path / "control.yaml"
    checks = {"bounded": {"name": "pgd", "max_iterations": 1}, "checks": {"planted_tiles": 1, "max_queries": 2}}
    settings = {
        **tiny_settings,
        "train": {**tiny_settings["train"], "epochs": 8},
        "evaluation": {"tiles": 4, "curves": {}, **checks},
    }
    experiment.write_text(yaml.safe_dump({**settings, "storage": str(store)}))
    control.write_text(yaml.safe_dump({**settings, "storage": str(undisturbed)}))
    epochs: dict[int, float] = {}

    def trained_three_epochs() -> bool:
        for path in store.glob("progress/*.json"):
            progress = json.loads(path.read_text())
            epochs[progress["epoch"]] = progress["seconds"]
        return len(epochs) >= 3 and any(store.glob("scratch/train/*/checkpoint_manager_snapshot.json"))

    reached: dict[str, Callable[[], bool]] = {
        "ingest": lambda: any(store.glob("artifacts/tiles/*/t*/*.parquet")),
        "train": trained_three_epochs,
        "attack": lambda: any(store.glob("artifacts/adversarials/*/*.parquet")),
        "harden": lambda: bool(finished(store, "harden")),
        "diagnose": lambda: any(store.glob("artifacts/diagnostics/*/*.parquet")),
        "evaluate": lambda: any(store.glob("artifacts/predictions/*/*.parquet")),
    }
    kept: dict[str, int] = {}
    for condition in reached.values():
        kill_when(start(experiment), condition)
        now = everything_finished(store)
        assert {file: now[file] for file in kept} == kept
        kept = now

    last = start(experiment)
    output, _ = last.communicate(timeout=PATIENCE_SECONDS)
    assert last.returncode == 0, output
    now = everything_finished(store)
    assert {file: now[file] for file in kept} == kept

    whole = start(control)
    output, _ = whole.communicate(timeout=PATIENCE_SECONDS)
    assert whole.returncode == 0, output
    assert results(store) == results(undisturbed)
    (trained,) = (
        manifest
        for path in store.glob("artifacts/model/*/_manifest.json")
        if (manifest := json.loads(path.read_text()))["stage"] == "train"
    )
    assert trained["history"][0]["seconds"] == epochs[1], "the first epoch was trained again"
