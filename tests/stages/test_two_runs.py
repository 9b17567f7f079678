"""Two runs start at once on one store: both end well, with equal tables, and no model is trained twice."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from raypipe.evaluation.results.compute import load_result
from raypipe.storage.store import Store

pytestmark = [pytest.mark.cluster, pytest.mark.full]
PATIENCE_SECONDS = 900


def start(settings: dict[str, Any], file: Path) -> "subprocess.Popen[str]":
    file.write_text(yaml.safe_dump(settings))
    return subprocess.Popen(
        [sys.executable, "-m", "raypipe.cli.app", "run", str(file), "--json"], cwd=file.parent, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize("workers", [1, 0], ids=["worker group", "side by side"])
@pytest.mark.parametrize("same", [True, False], ids=["one experiment", "shared cells"])
def test_runs_at_the_same_time(workers: int, same: bool, tmp_path: Path, tiny_settings: dict[str, Any]) -> None:
    resources = {**tiny_settings["resources"], "train_workers": workers, "harden_workers": workers}
    first = {**tiny_settings, "storage": str(tmp_path / "store"), "resources": resources}
    second = first if same else {**first, "name": "other", "attacks": {"deepfool": {"max_iterations": 5}, "fgsm": {}}}
    runs = [start(settings, tmp_path / f"{number}.yaml") for number, settings in enumerate((first, second))]
    ended = [(*run.communicate(timeout=PATIENCE_SECONDS), run.returncode) for run in runs]
    for out, err, code in ended:
        assert code == 0, out + err
    store = Store.open(str(tmp_path / "store"))
    results = [json.loads(out) for out, _, _ in ended]
    if same:
        assert results[0]["records"] == results[1]["records"]
        assert results[0]["checks"] == results[1]["checks"]
    else:
        shared = [
            [row for row in each["records"] if not row["defense"]
             and (row["protocol"] == "clean" or row["attack"] == "deepfool")]
            for each in results
        ]  # fmt: skip
        assert shared[0]
        assert shared[0] == shared[1]
    for name in {first["name"], second["name"]}:
        assert load_result(store, name).records.num_rows
    left = [file.path for file in store.list_tree() if file.is_temporary or file.path.startswith(("claims", "scratch"))]
    assert left == []
