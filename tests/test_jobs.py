"""What is submitted to a cluster: run, stopped and gone on with, and brought to a cluster that lacks the package."""

import importlib.metadata
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

from raypipe.evaluation.results import load_result
from raypipe.store import Store
from raypipe.telemetry.state import read_state
from tests.ray_head import BIN, Head, ray_head

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("commands")]
ROOT = Path(__file__).parents[1]
TINY: dict[str, Any] = {
    "name": "submitted",
    "data": {"source": "synthetic", "sources_per_class": 4, "siblings": 1, "size": 32},
    "tiles": {"size": 32, "shard_size": 8, "train_fraction": 0.25},
    "models": {"ours": {"name": "module:mypkg.net:build"}},
    "train": {"epochs": 1, "batch_size": 8},
    "attacks": {"deepfool": {}, "ddn": {}},
    "resources": {"train_workers": 2},
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
    """What a user submits: the checkout's code, and an experiment."""
    (folder / "jobs").mkdir(parents=True)
    for name in ("run.py", "runtime_env.yaml"):
        (folder / "jobs" / name).write_bytes((ROOT / "jobs" / name).read_bytes())
    for name in ("pyproject.toml", "README.md", "constraints.txt"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    shutil.copytree(ROOT / "raypipe", folder / "raypipe", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "jobs" / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    return folder


def ray_job(head: Head, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [BIN / "ray", "job", words[0], f"--address={head.dashboard}", *words[1:]]
    for _ in range(30):  # the dashboard listens before it answers, and answers before the node can take jobs
        done = subprocess.run(command, env=head.environment, capture_output=True, text=True, timeout=400, check=False)
        if not any(
            reason in done.stdout + done.stderr for reason in ("No available agent", "Failed to connect to Ray")
        ):
            break
        time.sleep(2)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of whoever started the cluster: a job's relative storage lies below it."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def head(home: Path) -> Iterator[Head]:
    with ray_head(home) as cluster:
        yield cluster


def finished(store: Path) -> dict[Path, int]:
    """When each file of an artifact was written, whether its cell is complete or not."""
    return {path: path.stat().st_mtime_ns for path in store.glob("artifacts/**/*") if path.is_file()}


def test_a_stopped_job_says_so_and_submitted_again_it_computes_nothing_twice(
    tmp_path: Path, home: Path, head: Head
) -> None:
    """With a network that only the submitted folder has, which two workers train together; while it is held, no attack
    goes beyond its first shards."""
    work, store = experiment_folder(tmp_path / "work"), home / "raypipe" / "results"
    (work / "mypkg").mkdir()
    (work / "mypkg" / "net.py").write_text(NETWORK)
    job = ("--working-dir", str(work), "--", "python", "jobs/run.py", "jobs/tiny.yaml")
    (home / "held").touch()
    ray_job(head, "submit", "--no-wait", "--submission-id", "first", *job)
    deadline = time.monotonic() + 240
    while not any(store.glob("artifacts/adversarials/*/*.parquet")):
        assert time.monotonic() < deadline, ray_job(head, "logs", "first").stdout
        time.sleep(0.1)
    ray_job(head, "stop", "first")
    log = ray_job(head, "logs", "first").stdout
    assert "goes on with" not in log, "there is room for both workers"
    assert "train  ours  epoch 1/1  loss" in log, "lines of the log name their cell"
    assert "Table 2" not in log, "stopped in the midst of it"
    told = subprocess.run(
        [BIN / "raypipe", "status", "submitted", "--storage", str(store)],
        env=head.environment, capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    assert "Stopped from outside" in told
    assert "✓ train" in told
    assert "✗ attack" in told
    kept = finished(store)

    (home / "held").unlink()
    again = ray_job(head, "submit", "--submission-id", "second", *job)
    assert "Table 2" in again.stdout
    now = finished(store)
    assert {path: now[path] for path in kept} == kept
    assert len(now) > len(kept)
    assert "epoch 1/1" not in again.stdout, "the model was there"
    assert read_state(Store.open(str(store)), "submitted").state == "done"

    result = load_result(Store.open(str(store)), "submitted")
    assert [row["protocol"] for row in result.records.to_pylist()][:2] == ["clean", "white-box"]
    assert result.location in again.stdout.replace("\n", "")
    (weights,) = (store / "artifacts" / "model").glob("*/model.safetensors")
    assert load_file(weights)["network.0.weight"].shape == (5, 3, 3, 3)


def test_the_runtime_environment_brings_the_package_to_a_cluster_without_it(tmp_path: Path, head: Head) -> None:
    """What it depends on is there already, since nothing can be downloaded here: pip has to build and install it."""
    pytest.importorskip("hatchling", reason="pip builds the package with it")
    work = experiment_folder(tmp_path / "work")
    (work / "tiles.zip").write_bytes(b"0" * 100)
    there = {each.name: each.version for each in importlib.metadata.distributions() if each.name != "raypipe"}
    (work / "constraints.txt").write_text("".join(f"{name}=={version}\n" for name, version in there.items()))
    (work / "where.py").write_text(WHERE)
    environment = yaml.safe_load((work / "jobs" / "runtime_env.yaml").read_text())
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}  # pip reads the latter the other way round
    (work / "offline.yaml").write_text(yaml.safe_dump({**environment, "env_vars": offline}))
    submitted = ray_job(
        head,
        "submit",
        "--runtime-env",
        str(work / "offline.yaml"),
        "--working-dir",
        str(work),
        "--",
        "python",
        "where.py",
    )
    where = [line for line in submitted.stdout.splitlines() if line.startswith("FROM")]
    assert len(where) == 2, submitted.stdout
    for line in where:  # of the driver and of a worker
        assert "/runtime_resources/pip/" in line, "installed for the job, not the cluster's own"
        assert "'jobs', 'offline.yaml', 'pyproject.toml', 'raypipe'" in line
        assert "tiles.zip" not in line, "data is not uploaded with the code"
