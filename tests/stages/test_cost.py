"""The countable costs of a run, so that none of them grows unnoticed; no clock is used.

The counts are those of the experiment in conftest.py, on a Ray of its own with two CPUs. If a change makes one of them
smaller, lower it here.
"""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from benchmarks.pipeline.processes import Watched, watch

pytestmark = [pytest.mark.cluster, pytest.mark.full, pytest.mark.xdist_group("cost")]
RUN = """
import json, sys, time
from pathlib import Path
import ray
from ray._private.state import actors
from raypipe.experiment.load import load_experiment
from raypipe.stages.cluster import connect
from raypipe.stages.pipeline import run_experiment

def of_data():
    return [event["cat"].removeprefix("task::") for event in ray.timeline() if event["cat"].startswith("task::Map(")]

with connect(None, Path(sys.argv[2]).with_name("ray.log")):
    run_experiment(load_experiment(sys.argv[1]))
    before = None
    while (tasks := of_data()) != before:  # workers report once a second
        before = tasks
        time.sleep(2.5)
    started = [actor["ActorClassName"].split(".")[-1] for actor in actors().values()]
    Path(sys.argv[2]).write_text(json.dumps({"tasks": tasks, "actors": started}))
"""


@dataclass(frozen=True)
class Counted:
    """The processes started, counted inside and outside of the run, and the store that it filled."""

    tasks: "Counter[str]"
    actors: "Counter[str]"
    watched: Watched
    artifacts: Path
    costs: list[dict[str, Any]]


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Counted:
    from tests.stages.conftest import TINY  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("counted")
    (folder / "tiny.yaml").write_text(yaml.safe_dump({**TINY, "storage": str(folder / "store")}))
    command = [sys.executable, "-c", RUN, str(folder / "tiny.yaml"), str(folder / "told.json")]
    watched = watch(command, folder / "log")
    assert watched.status == 0, (folder / "log").read_text()
    told = json.loads((folder / "told.json").read_text())
    costs = pq.read_table(folder / "store" / "runs" / "tiny" / "costs.parquet").to_pylist()
    return Counted(Counter(told["tasks"]), Counter(told["actors"]), watched, folder / "store" / "artifacts", costs)


def test_a_task_for_each_shard_and_no_other(counted: Counted) -> None:
    """Count the tasks: 10 test tiles are 2 shards of 8, 30 training tiles are 4, and ingest takes its 6 in 4 blocks."""
    cells = Counter(row["stage"] for row in counted.costs)
    assert cells == {"ingest": 1, "train": 1, "attack": 8, "harden": 2, "evaluate": 13}
    assert counted.tasks == {
        "Map(ingest)": 4,
        "Map(attack)": 2 * (2 + 4),
        "Map(attack_hardened)": 4 * 2,
        "Map(evaluate)": 13 * 2,
    }


def test_an_actor_for_each_trial_and_each_training_worker(counted: Counted) -> None:
    assert counted.actors["ImplicitFunc"] == 2
    assert counted.actors["RayTrainWorker"] == 2
    assert counted.actors["TrainController"] == 1
    assert counted.actors.total() <= 8, "Ray's own besides: " + ", ".join(counted.actors)


def test_pytorch_is_loaded_once_a_worker_and_not_once_a_stage(counted: Counted) -> None:
    """Count the driver, two task workers, two training workers and their controller, two trials; allow one more."""
    assert 6 <= counted.watched.with_torch <= 9


def test_passes_through_the_network(counted: Counted) -> None:
    passes = Counter[str]()
    for row in counted.costs:
        passes[row["stage"]] += row["forwards"] + row["backwards"]
    # Each epoch validates 10 of 30 training tiles. The others pass forward and backward, and twice so in hardening.
    assert passes["train"] == 2 * (2 * 20 + 10)
    assert passes["harden"] == 2 * (2 * 40 + 10)
    assert passes["evaluate"] == 13 * 10
    assert 0 < passes["attack"] <= 9_000


def test_files_and_bytes(counted: Counted) -> None:
    """Count every shard, manifest, summary of rows and record of a model's trials once.

    No tile is larger than twice its pixels, of which there are few here.
    """
    files = [path for path in counted.artifacts.rglob("*") if path.is_file()]
    assert Counter(path.suffix for path in files) == {".parquet": 52, ".json": 25 + 3, ".arrow": 21, ".safetensors": 3}
    tiles = [path for path in files if path.parts[-4] == "tiles"]
    assert sum(path.stat().st_size for path in tiles) <= 40 * 32 * 32 * 3 * 2
    assert sum(path.stat().st_size for path in files) <= 6 * 2**20


@pytest.mark.parametrize(
    ("modules", "others"),
    [
        ("cli", {"ray", "mlflow"}),
        (
            "execution.attack execution.ingest execution.evaluate stages.cluster_executor stages.harden stages.train",
            {"timm"},
        ),
    ],
    ids=["command line", "worker"],
)
def test_a_process_starts_without_what_few_need(modules: str, others: set[str]) -> None:
    """Check that unneeded modules are not imported; they would take half of the time that a process takes to start."""
    without = {"art", "matplotlib", "scipy.stats", "sklearn", "torch._dynamo", "torchvision"} | others
    code = "\n".join(["import sys", *(f"import raypipe.{name}" for name in modules.split()), "print(*sys.modules)"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "raypipe" in done.stdout.split()
    assert not without & set(done.stdout.split())
