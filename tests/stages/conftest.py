"""A real Ray cluster of two nodes on this machine, and an experiment small enough to run on it in seconds."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from raypipe.config import validate_experiment
from raypipe.experiment import Experiment
from raypipe.stages.cluster import WARM_WORKERS
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
    "resources": {"train_workers": 2, "harden_workers": 0, "attack_batch": 8, "memory_format": "contiguous"},
}


@pytest.fixture(scope="session")
def two_nodes() -> Iterator[None]:
    """A head and a second node of one CPU each."""
    generate_token(Path.home())
    node: dict[str, Any] = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    node["_system_config"] = {"num_workers_soft_limit": WARM_WORKERS}  # as docs/cluster.md tells whoever starts a head
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    ray.init(address=cluster.address, log_to_driver=False, _node_ip_address="127.0.0.1")
    yield
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def tiny_settings() -> dict[str, Any]:
    """The experiment as its file would say it."""
    return TINY


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Experiment]:
    """Builds the experiment, with some sections replaced, on a store of its own."""

    def build(**changes: Any) -> Experiment:
        return validate_experiment({**TINY, "storage": str(tmp_path / "store"), **changes})

    return build
