"""Jobs on a cluster: stopped and continued as in docs/cluster.md, and brought to nodes without raypipe."""

import importlib.metadata
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from raypipe.evaluation.results.result import load_result
from raypipe.progress.state import read_state
from raypipe.storage.store import Store
from tests.terminal import needs_a_machine, shell_lines, terminal

pytestmark = [pytest.mark.cluster, pytest.mark.full, needs_a_machine]
ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "cluster.md"
START = shell_lines(DOCUMENT, "## One machine")[:3]
STOP = shell_lines(DOCUMENT, "## Stop and continue a job")
(BARE,) = shell_lines(DOCUMENT, "## What a job brings along")
TINY: dict[str, Any] = {
    "name": "demo",
    "data": {"source": "synthetic", "sources_per_class": 4, "siblings": 1, "size": 32},
    "tiles": {"size": 32, "shard_size": 8, "train_fraction": 0.25},
    "models": {"ours": {"name": "module:mypkg.net:build"}},
    "train": {"epochs": 1, "batch_size": 8},
    "attacks": {"deepfool": {}, "ddn": {}},
    "evaluation": {"curves": {}, "checks": None},
    "resources": {"train_workers": 2},
    "storage": "results",
}
NETWORK = """
import time
from pathlib import Path

from torch import nn

HOME = Path.home()

class Held(nn.Sequential):
    def forward(self, tiles):
        while (HOME / "held").exists() and any(HOME.glob("raypipe/results/artifacts/adversarials/*/*.parquet")):
            time.sleep(0.1)
        return super().forward(tiles)

def build(num_classes):
    return Held(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(80, num_classes))
"""
WHERE = """
import importlib.metadata, os, ray
import raypipe.stages.pipeline

def told():
    return f"FROM {importlib.metadata.distribution('raypipe').locate_file('')} {sorted(os.listdir())}"

ray.init(log_to_driver=False)
print(told())
print(ray.get(ray.remote(told).remote()))
"""


def experiment_folder(folder: Path) -> Path:
    """Make the folder that a user submits: the checkout's code, and an experiment."""
    (folder / "jobs").mkdir(parents=True)
    for name in ("run.py", "runtime_env.yaml"):
        (folder / "jobs" / name).write_bytes((ROOT / "jobs" / name).read_bytes())
    for name in ("pyproject.toml", "README.md", "constraints.txt"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    shutil.copytree(ROOT / "raypipe", folder / "raypipe", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "jobs" / "demo.yaml").write_text(yaml.safe_dump(TINY))
    return folder


def bare_environment(folder: Path) -> Path:
    """Make a virtual environment with raypipe's dependencies but without raypipe, and return its commands' folder.

    It is small, because Ray copies its own environment for a job that requests packages.
    """
    packages = Path(importlib.metadata.distribution("ray").locate_file(""))
    shutil.copytree(Path(sys.prefix) / "bin", folder / "bin", symlinks=True)
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", folder)
    own = folder / packages.relative_to(sys.prefix)
    own.mkdir(parents=True)
    for package in packages.iterdir():
        if "raypipe" not in package.name:
            (own / package.name).symlink_to(package)
    for script in (folder / "bin").iterdir():
        if script.is_file() and not script.is_symlink() and sys.prefix.encode() in (text := script.read_bytes()):
            script.write_bytes(text.replace(sys.prefix.encode(), str(folder).encode()))
    return folder / "bin"


def finished(store: Path) -> dict[Path, int]:
    """Return when each file of an artifact was written, in complete and in incomplete cells."""
    return {path: path.stat().st_mtime_ns for path in store.glob("artifacts/**/*") if path.is_file()}


def test_a_stopped_job_says_what_is_finished_and_submitted_again_it_computes_nothing_twice(tmp_path: Path) -> None:
    """Stop a job whose network only the submitted folder has, and which two workers train together.

    While the network is held, no attack passes its first shards.
    """
    work, home = experiment_folder(tmp_path / "work"), tmp_path / "home"
    store = home / "raypipe" / "results"
    (work / "mypkg").mkdir()
    (work / "mypkg" / "net.py").write_text(NETWORK)
    home.mkdir()
    (home / "held").touch()
    submit, logs, stop, status, again = STOP
    with terminal(work, home) as user:
        for line in (*START, submit):
            user.run(line)
        deadline = time.monotonic() + 240
        while not any(store.glob("artifacts/adversarials/*/*.parquet")):
            assert time.monotonic() < deadline, user.run(logs)
            time.sleep(0.1)
        assert "tiles to do" in user.run(logs)
        user.run(stop)
        log = user.run(logs)
        assert "continues with" not in log, "there is room for both workers"
        assert "train  1 epochs done in" in log, "lines of the log name their stage"
        assert "Accuracy in %" not in log, "stopped in the midst of it"
        (stopped,) = re.findall(rf"^Stopped by SIGTERM: \d+ of \d+ cells are finished and kept in {store}.*", log, re.M)
        assert stopped.split()[3] == "2", "the tiles and the model"
        told = user.run(status)
        assert " ".join(stopped.split()[:9]) in told.replace("\n", " ")
        assert "✓ train" in told
        assert "✗ attack" in told
        kept = finished(store)

        (home / "held").unlink()
        rest = user.run(again)
    assert "Accuracy in % on " in rest
    now = finished(store)
    assert {path: now[path] for path in kept} == kept
    assert len(now) > len(kept)
    assert "epoch 1/1" not in rest, "the model was there"
    assert read_state(Store.open(str(store)), "demo").state == "done"

    result = load_result(Store.open(str(store)), "demo")
    assert [row["protocol"] for row in result.records.to_pylist()][:3] == [
        "clean",
        "clean on attacked tiles",
        "white-box",
    ]
    assert result.location in rest.replace("\n", "")
    (weights,) = (store / "artifacts" / "model").glob("*/model.safetensors")
    assert load_file(weights)["network.0.weight"].shape == (5, 3, 3, 3)


def test_the_runtime_environment_brings_the_package_to_a_cluster_without_it(tmp_path: Path) -> None:
    """Let pip build and install the package alone: its dependencies are there, as nothing can be downloaded here."""
    work, home = experiment_folder(tmp_path / "work"), tmp_path / "home"
    home.mkdir()
    (work / "tiles.zip").write_bytes(b"0" * 100)
    there = {each.name: each.version for each in importlib.metadata.distributions() if each.name != "raypipe"}
    (work / "constraints.txt").write_text("".join(f"{name}=={version}\n" for name, version in there.items()))
    (work / "where.py").write_text(WHERE)
    environment = yaml.safe_load((work / "jobs" / "runtime_env.yaml").read_text())
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}  # pip inverts the meaning of the second variable
    (work / "offline.yaml").write_text(yaml.safe_dump({**environment, "env_vars": offline}))
    line = BARE.replace("jobs/runtime_env.yaml", "offline.yaml").replace("jobs/run.py jobs/demo.yaml", "where.py")
    with terminal(work, home, commands=bare_environment(tmp_path / "bare")) as user:
        user.run("(cd / && python -c 'import raypipe' 2>/dev/null)", status=1)
        for each in START:
            user.run(each)
        submitted = user.run(line)
    where = [line for line in submitted.splitlines() if line.startswith("FROM")]
    assert len(where) == 2, submitted
    for line in where:  # one line of the driver and one of a worker
        assert "/runtime_resources/pip/" in line, "installed for the job, not the cluster's own"
        assert "'jobs', 'offline.yaml', 'pyproject.toml', 'raypipe'" in line
        assert "tiles.zip" not in line, "data is not uploaded with the code"
