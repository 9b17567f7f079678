"""The growth of a run's time with its cells, and its fall with more nodes, if the work itself takes no CPU time.

    python -m benchmarks.growth --out benchmarks/results/growth.json

The networks of these runs wait instead of computing. The time that remains is planning, scheduling, reading and
writing, on any number of simulated nodes:

- cells: whole runs of 9 to 1,000 cells, each with FGSM or its predictions on a few tiles, by stage; then the time to
  plan such a run, to compute its results from stored predictions, to lay out its tables and to draw its report;
- nodes: the attack stage on one, two and four nodes of one CPU each, which are processes of this machine, with passes
  that take time.
"""

import argparse
import gc
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.pipeline.ours import machine
from raypipe.cli.terminal import output
from raypipe.evaluation.results.compute import compute_result
from raypipe.evaluation.results.run import read_run
from raypipe.experiment.load import validate_experiment
from raypipe.plan.listing import prepare
from raypipe.progress.state import read_state
from raypipe.report.fitting_table import render_table
from raypipe.report.page.report import write_report
from raypipe.report.plan import tabulate_cell_groups, tabulate_cells
from raypipe.report.tables import render_tables
from raypipe.stages.cluster import QUIET, WARM_WORKERS
from raypipe.stages.pipeline import run_experiment

PASS_SECONDS = 0.25


class Waiting(nn.Module):
    """A linear layer after a pause: a pass takes a given time, and no CPU time."""

    def __init__(self, classes: int, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.head = nn.Linear(3 * 4 * 4, classes)

    def forward(self, images: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return self.head(F.adaptive_avg_pool2d(images, 4).flatten(1))


def quick(classes: int) -> nn.Module:
    """Return a network whose passes take no time."""
    return Waiting(classes, 0.0)


def slow(classes: int) -> nn.Module:
    """Return a network whose passes take `PASS_SECONDS`."""
    return Waiting(classes, PASS_SECONDS)


def experiment_of(storage: Path, network: str, attacks: int, siblings: int, shard_size: int) -> dict[str, Any]:
    """Return the settings of an experiment with one waiting backbone and `attacks` attacks."""
    return {
        "name": "growth",
        "storage": str(storage),
        "data": {"source": "synthetic", "size": 32, "sources_per_class": 8, "siblings": siblings},
        "tiles": {"size": 32, "train_fraction": 0.2, "shard_size": shard_size},
        "models": {"waits": {"name": f"module:benchmarks.growth:{network}"}},
        "train": {"epochs": 1},
        "attacks": {
            f"fgsm_{number}": {"name": "fgsm", "eps": 0.01, "seed": number} for number in range(1, attacks + 1)
        },
        "evaluation": {"curves": {}, "autoattack": None, "checks": None},
        "resources": {"attack_batch": shard_size},
    }


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun


def one(experiment: dict[str, Any], nodes: int) -> dict[str, Any]:
    """Run an experiment on a cluster of its own, then time the steps besides its stages once more."""
    gc.freeze()  # as the command `raypipe` does
    os.environ.update(QUIET)
    node: dict[str, Any] = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    node["_system_config"] = {"num_workers_soft_limit": WARM_WORKERS}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    for _ in range(1, nodes):
        cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1")
    ray.init(address=cluster.address, log_to_driver=False, _node_ip_address="127.0.0.1")
    with (Path(experiment["storage"]).with_suffix(".log")).open("w") as log:
        _, seconds = timed(lambda: run_experiment(validate_experiment(experiment), console=Console(file=log)))
    ray.shutdown()
    cluster.shutdown()
    console = Console(width=160, file=io.StringIO())
    prepared, planned = timed(lambda: prepare(validate_experiment(experiment)))
    plan, store = prepared.plan, prepared.store
    _, listed = timed(
        lambda: console.print(
            render_table(tabulate_cells(plan, store)), render_table(tabulate_cell_groups(plan, store))
        )
    )
    run = read_run(store, "growth")
    result, computed = timed(lambda: compute_result(store, run))
    _, laid_out = timed(lambda: console.print(*render_tables(result)))
    _, drawn = timed(lambda: write_report(run, result, store))
    return {
        "cells": len(plan.cells),
        "nodes": nodes,
        "seconds": seconds,
        "stages": {stage.name: stage.seconds for stage in read_state(store, "growth").stages},
        "besides": {
            "plan": planned,
            "list of cells": listed,
            "results from what is stored": computed,
            "tables": laid_out,
            "report": drawn,
        },
    }


def run_one(experiment: dict[str, Any], nodes: int) -> dict[str, Any]:
    """Call `one` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.growth", "--one", json.dumps(experiment), str(nodes)]
    path = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure, and write the record after every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attacks", type=int, nargs="*", default=[3, 50, 150, 500], help="each adds two cells")
    parser.add_argument("--nodes", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--out", type=Path, help="JSON record")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(json.loads(options.one[0]), int(options.one[1]))))
        return
    record: dict[str, Any] = {"machine": machine(), "cells": [], "nodes": []}
    with tempfile.TemporaryDirectory() as folder:
        for attacks in options.attacks:
            experiment = experiment_of(Path(folder) / f"cells-{attacks}", "quick", attacks, siblings=2, shard_size=16)
            record["cells"].append(run_one(experiment, nodes=2))
        for nodes in options.nodes:
            experiment = experiment_of(Path(folder) / f"nodes-{nodes}", "slow", 1, siblings=16, shard_size=8)
            record["nodes"].append(run_one(experiment, nodes))
            if options.out:
                options.out.write_text(json.dumps(record, indent=1) + "\n")
    report(record, output())


def report(record: dict[str, Any], console: Console) -> None:
    """Print a line for each run."""
    for kind in ("cells", "nodes"):
        if runs := record[kind]:
            table = Table(title=f"Seconds of a run by its {kind}")
            names = [kind, *runs[0]["stages"], "whole run", *runs[0]["besides"]]
            for name in names:
                table.add_column(name, justify="right")
            for run in runs:
                seconds = [*run["stages"].values(), run["seconds"], *run["besides"].values()]
                table.add_row(str(run[kind]), *(f"{second:.2f}" for second in seconds))
            console.print(table)


if __name__ == "__main__":
    main()
