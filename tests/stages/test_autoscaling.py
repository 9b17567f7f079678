"""A run on a cluster without workers: it requests them by kind, and idle ones leave."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ray_head import Head, ray_head

WATCH = """
import json, sys, time
from pathlib import Path
import ray
address, progress = sys.argv[1], Path(sys.argv[2])
ray.init(address=address, log_to_driver=False, logging_level=40)
while True:
    there, free = ray.cluster_resources(), ray.available_resources()
    kinds = [kind for kind in ("on_demand", "spot") if kind in there]
    held = [kind for kind in kinds if free.get(kind, 0) < there[kind]]
    stages = json.loads(progress.read_text())["stages"] if progress.exists() else []
    running = [stage["name"] for stage in stages if stage["state"] == "running"]
    print(json.dumps([running, kinds, held]), flush=True)
    time.sleep(0.1)
"""

TILES = """
import sys
from pathlib import Path
from rich.console import Console
from raypipe.experiment.load import load_experiment
from raypipe.plan.listing import prepare
from raypipe.stages.cluster import connect
from raypipe.execution.ingest import ingest
from raypipe.stages.cluster_executor import ClusterExecutor
from raypipe.progress.stage import stage_progress
prepared = prepare(load_experiment(sys.argv[1]))
(cell,), (listing,) = prepared.plan.stage("ingest"), prepared.listings
with connect(None, Path(sys.argv[2])), stage_progress(Console(), "ingest", len(listing.items), "files") as progress:
    executor = ClusterExecutor(prepared.store, prepared.experiment.resources)
    ingest(cell, listing.source, listing.items, executor, progress)
"""


def seen(log: Path) -> list[tuple[list[str], list[str], list[str]]]:
    """Return, for each look, the running stages, the kinds of nodes present, and the kinds of nodes in use."""
    return [tuple(json.loads(line)) for line in log.read_text().splitlines() if line.endswith("]")]


def run(head: Head, experiment: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "raypipe", "run", str(experiment), "--address", head.address, *options]
    return subprocess.run(command, env=head.environment, capture_output=True, text=True, timeout=500, check=False)


@pytest.mark.full
@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_training_and_attacks_bring_up_nodes_of_their_kind_which_go_again(
    tmp_path: Path, tiny_settings: dict[str, Any]
) -> None:
    storage, experiment, log = tmp_path / "store", tmp_path / "tiny.yaml", tmp_path / "seen.jsonl"
    resources = {**tiny_settings["resources"], "train_workers": 1, "train_on": "on_demand", "attack_on": "spot"}
    settings = {**tiny_settings, "storage": str(storage), "resources": resources, "attacks": {"deepfool": {}}}
    experiment.write_text(yaml.safe_dump(settings))
    # This Ray has no autoscaler: a stage that requests no kind of node could bring up the one that training waits for.
    subprocess.run([sys.executable, "-c", TILES, str(experiment), str(tmp_path / "ray.log")], check=True)
    kinds = {"on_demand": {"CPU": 1, "on_demand": 1}, "spot": {"CPU": 1, "spot": 1}}
    with ray_head(tmp_path / "home", cpus=1, node_types=kinds) as head, log.open("w") as lines:
        refused = run(head, experiment)
        assert refused.returncode == 1
        assert "the cluster has no node with the resource 'on_demand'" in refused.stderr.replace("\n", " ")
        assert "resources.wait_minutes" in refused.stderr

        watch = [sys.executable, "-c", WATCH, head.address, str(storage / "runs" / "tiny" / "progress.json")]
        watching = subprocess.Popen(watch, env=head.environment, stdout=lines, stderr=subprocess.DEVNULL)
        try:
            done = run(head, experiment, "--set", "resources.wait_minutes=4")
            assert done.returncode == 0, done.stdout + done.stderr
            assert "Accuracy in % on " in done.stdout
            told = "train  waits for nodes with the resource 'on_demand': there is room for 0 of 1 workers"
            assert told in done.stdout
            while_at_work = seen(log)
            deadline = time.monotonic() + 120
            while seen(log)[-1][1]:
                assert time.monotonic() < deadline, "idle nodes stayed"
                time.sleep(0.5)
        finally:
            watching.kill()
            watching.wait()
    # The file about the stages may be some seconds old, so training ends where it last held a node.
    trained = [at for at, (stages, _, held) in enumerate(while_at_work) if "train" in stages and "on_demand" in held]
    assert not any("spot" in held for _, _, held in while_at_work[: trained[-1] + 1]), "training is kept off them"
    for stage, kind in {"train": "on_demand", "attack": "spot", "harden": "on_demand"}.items():
        assert any(stage in stages and kind in held for stages, _, held in while_at_work), (stage, kind)
