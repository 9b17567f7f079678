"""Two runs start at once on one store: both end well, with equal tables, and no model is trained twice."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from raypipe.evaluation.results.result import load_result
from raypipe.storage.store import Store

pytestmark = [pytest.mark.cluster, pytest.mark.full]
PATIENCE_SECONDS = 900


def start(settings: dict[str, Any], file: Path) -> "subprocess.Popen[str]":
    file.write_text(yaml.safe_dump(settings))
    return subprocess.Popen(
        [sys.executable, "-m", "raypipe", "run", str(file), "--json"], cwd=file.parent, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_runs_at_the_same_time(tmp_path: Path, tiny_settings: dict[str, Any]) -> None:
    resources = {**tiny_settings["resources"], "train_workers": 0, "harden_workers": 0}
    settings = {**tiny_settings, "storage": str(tmp_path / "store"), "resources": resources}
    runs = [start(settings, tmp_path / f"{number}.yaml") for number in range(2)]
    ended = [(*run.communicate(timeout=PATIENCE_SECONDS), run.returncode) for run in runs]
    for out, err, code in ended:
        assert code == 0, out + err
    first, second = (json.loads(out) for out, _, _ in ended)
    assert first["records"]
    assert first["records"] == second["records"]
    assert first["checks"] == second["checks"]
    store = Store.open(str(tmp_path / "store"))
    assert load_result(store, settings["name"]).records.num_rows == len(first["records"])
    left = [file.path for file in store.list_tree() if file.is_temporary or file.path.startswith(("claims", "scratch"))]
    assert left == []
