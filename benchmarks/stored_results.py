"""The time to compute the results of many attacks from a store, for several versions of raypipe in turns.

    python -m benchmarks.stored_results --version before=OLD --version now=. --out benchmarks/results/stored.json

A process of each version attacks and predicts tiles in four shards with a network that does nearly nothing, and copies
the files to all other cells. Then processes of each version compute the results of the run that it stored.
"""

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.evaluation.results.compute import compute_result
from raypipe.evaluation.results.run import read_run, write_run
from raypipe.execution.attack import attack
from raypipe.execution.evaluate import evaluate
from raypipe.execution.ingest import ingest
from raypipe.execution.local_executor import LocalExecutor
from raypipe.execution.model_cache import ModelCache
from raypipe.experiment.load import validate_experiment
from raypipe.models.checkpoint import ModelCard
from raypipe.models.classifier import build_classifier
from raypipe.plan.description import describe_run
from raypipe.plan.listing import prepare
from raypipe.progress.stage import stage_progress
from raypipe.stages.fitting import publish_model
from raypipe.storage.store import Store

NAME = "stored"


class Linear(nn.Module):
    """A linear layer on a thumbnail."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 4 * 4, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        return self.head(F.adaptive_avg_pool2d(images, 4).flatten(1))  # type: ignore[no-any-return]


def experiment_of(storage: Path, attacks: int) -> dict[str, Any]:
    """Return the settings of an experiment with many attacks on 64 test tiles in four shards."""
    return {
        "name": NAME,
        "storage": str(storage),
        "data": {"source": "synthetic", "size": 32, "sources_per_class": 8, "siblings": 2},
        "tiles": {"size": 32, "train_fraction": 0.2, "shard_size": 16},
        "models": {"linear": {"name": "module:benchmarks.stored_results:Linear"}},
        "attacks": {f"fgsm_{seed}": {"name": "fgsm", "eps": 0.01, "seed": seed} for seed in range(1, attacks + 1)},
        "evaluation": {"curves": {}, "autoattack": None, "checks": None},
        "resources": {"attack_batch": 16},
    }


def store_run(storage: Path, attacks: int) -> int:
    """Compute one attack and its predictions, copy both to all other cells, and return the number of cells."""
    torch.set_num_threads(1)
    prepared = prepare(validate_experiment(experiment_of(storage, attacks)))
    store, plan, (listing,) = prepared.store, prepared.plan, prepared.listings
    executor = LocalExecutor(ModelCache(store, torch.device("cpu"), 16))
    (tiles,), (cell,) = plan.stage("ingest"), plan.stage("train")
    first, *others = plan.stage("attack")
    clean, *tests = sorted(plan.stage("evaluate"), key=lambda test: test.inputs["tiles"].stage != "ingest")
    (predictions,) = (test for test in tests if test.inputs["tiles"].key == first.key)
    with stage_progress(Console(file=io.StringIO()), "all", 1, "tiles") as progress:
        ingest(tiles, listing.source, listing.items, executor, progress)
        torch.manual_seed(0)
        classifier = build_classifier(cell.spec.model, len(tiles.spec.labels)).eval()
        model = cell.spec.model
        card = ModelCard(model.name, tiles.spec.labels, 32, *classifier.normalization, digest=model.digest)
        publish_model(cell, classifier, card, store)
        attack([first], executor, progress)
        evaluate([clean, predictions], executor, progress)
    for each in (*others, *(test for test in tests if test != predictions)):
        source = first if each.stage == "attack" else predictions
        places = (store.path(store.artifact(one.kind, one.key)) for one in (source, each))
        shutil.copytree(*places)
    write_run(store, describe_run(NAME, plan, listing.source, "synthetic", store))
    return len(plan.cells)


def compute(storage: Path) -> dict[str, float]:
    """Compute the results in this process, and return the seconds and the CPU seconds."""
    store = Store.open(str(storage))
    run = read_run(store, NAME)
    begun, used = time.perf_counter(), time.process_time()
    compute_result(store, run)
    return {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - used}


def run_child(folder: str, *arguments: str) -> str:
    """Run this script with the code of a checkout, and return the last line that it prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(folder).resolve())}
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return done.stdout.splitlines()[-1]


def main() -> None:
    """Store a run with each version, then measure the versions in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="append", default=[], metavar="NAME=FOLDER", help="a checkout to measure")
    parser.add_argument("--attacks", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON record")
    parser.add_argument("--store", type=Path, metavar="STORE", help=argparse.SUPPRESS)
    parser.add_argument("--compute", type=Path, metavar="STORE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.store:
        print(store_run(options.store, options.attacks))
        return
    if options.compute:
        print(json.dumps(compute(options.compute)))
        return
    versions = dict(each.split("=", 1) for each in options.version or ["now=."])
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, folder in versions.items():
            cells = int(run_child(folder, "--store", f"{scratch}/{name}", "--attacks", str(options.attacks)))
        for number in range(options.repeats):
            for name, folder in versions.items():
                figures = json.loads(run_child(folder, "--compute", f"{scratch}/{name}"))
                rounds.append({"version": name, "round": number, **figures})
    for name in versions:
        own = [each for each in rounds if each["version"] == name]
        seconds, cpu = (statistics.median(each[what] for each in own) for what in ("seconds", "cpu"))
        print(f"{name}: results of {options.attacks} attacks in {seconds:.2f} s, {cpu:.2f} s of CPU")
    if options.out:
        record = {"attacks": options.attacks, "cells": cells, "rounds": rounds}
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
