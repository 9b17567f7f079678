"""A real Ray cluster of two nodes on this machine, and an experiment small enough to run on it in seconds."""

import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from rich.console import Console

from raypipe.evaluation.results.result import RunResult
from raypipe.experiment.load import validate_experiment
from raypipe.experiment.schema import Experiment
from raypipe.stages.cluster import ALONE, WARM_WORKERS
from raypipe.stages.pipeline import run_experiment
from raypipe.storage.store import Store
from tests.ray_head import generate_token

TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"source": "synthetic", "sources_per_class": 4, "siblings": 2, "size": 32},
    "tiles": {"size": 32, "shard_size": 8},
    "models": ["convnet"],
    "train": {"epochs": 2, "batch_size": 8},
    "attacks": {"deepfool": {"max_iterations": 5}, "saliency_map": {"growth": 2, "attempts": 1, "max_iterations": 40}},
    "defenses": {"adversarial_training": {"epochs": 1}},
    "evaluation": {"curves": {}, "autoattack": {"max_iterations": 2, "max_queries": 2}, "checks": None},
    "resources": {"train_workers": 2, "harden_workers": 0, "attack_batch": 8},
}


@dataclass(frozen=True)
class Finished:
    """An experiment that was run, with its result and its output."""

    experiment: Experiment
    result: RunResult
    text: str


def run(experiment: Experiment) -> tuple[RunResult, str]:
    """Run an experiment on the connected cluster, and return its result and its output with every table."""
    console = Console(file=io.StringIO(), width=160)
    result = run_experiment(experiment, console=console, detail="verbose")
    return result, console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def two_nodes() -> Iterator[None]:
    """Start a head and a second node of one CPU each."""
    generate_token(Path.home())
    node: dict[str, Any] = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    node["_system_config"] = {"num_workers_soft_limit": WARM_WORKERS}  # as docs/cluster.md advises for a head
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    ray.init(address=cluster.address, log_to_driver=False, _node_ip_address="127.0.0.1")
    with pytest.MonkeyPatch.context() as environment:
        for name, value in ALONE.items():
            environment.setenv(name, value)
        yield
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="session")
def finished(two_nodes: None, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Run the tiny experiment once, for all tests that read its store or start with its contents."""
    experiment = validate_experiment({**TINY, "storage": str(tmp_path_factory.mktemp("finished"))})
    return Finished(experiment, *run(experiment))


@pytest.fixture
def tiny_settings() -> dict[str, Any]:
    """Return the experiment as in its file."""
    return TINY


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Experiment]:
    """Return a builder of the experiment with some sections replaced, on a store of its own."""

    def build(**changes: Any) -> Experiment:
        return validate_experiment({**TINY, "storage": str(tmp_path / "store"), **changes})

    return build


@pytest.fixture
def tiny_trained(tiny: Callable[..., Experiment], finished: Finished) -> Callable[..., Experiment]:
    """Return a builder of the experiment on a store that has its tiles and its undefended model."""
    source = Store.open(finished.experiment.storage)
    kept = [
        source.artifact(kind, key)
        for kind in ("tiles", "model")
        for key in source.list_directories(f"artifacts/{kind}")
        if (source.manifest(kind, key) or {})["stage"] in ("ingest", "train")
    ]

    def build(**changes: Any) -> Experiment:
        experiment = tiny(**changes)
        for artifact in kept:
            shutil.copytree(Path(source.path(artifact)), Path(experiment.storage) / artifact)
        return experiment

    return build
