"""The CPU seconds of small attack cells beyond their passes, for several versions of raypipe in turns.

    python -m benchmarks.cell_overhead --version before=OLD_CHECKOUT --version now=. --out benchmarks/results/cells.json

One process with one thread attacks 15 tiles of synthetic tissue, cell after cell. A cell has another model than the one
before, so it loads and prepares its model: a worker of a stage does that only for the first of consecutive cells of a
model. Then it reads its tiles, attacks them, and writes and publishes its result. The passes are the calls of the
network and of its gradient, including all that PyTorch does at the first one. The networks are untrained, with a last
layer that classifies these tiles correctly. One more network runs before the others, so that the seconds contain no
import and no start of PyTorch.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from raypipe.attacks.engine.victim import Victim
from raypipe.data.tiles import decode_images
from raypipe.execution.attack import attack
from raypipe.execution.ingest import ingest
from raypipe.execution.local_executor import LocalExecutor
from raypipe.execution.model_cache import ModelCache
from raypipe.experiment.load import validate_experiment
from raypipe.models.checkpoint import ModelCard
from raypipe.models.classifier import Classifier, build_classifier
from raypipe.plan.listing import Prepared, prepare
from raypipe.progress.stage import stage_progress
from raypipe.stages.fitting import publish_model

WARM_UP = "convnet"
MODELS = ("shufflenet_v2_x1_0", "resnet18", "googlenet")
CPU = torch.device("cpu")


def plan_cells(storage: Path, size: int) -> Prepared:
    """Return the plan of the cells: FGSM and PGD on 15 test tiles, for every model."""
    return prepare(
        validate_experiment(
            {
                "name": "cells",
                "storage": str(storage),
                "data": {"source": "synthetic", "size": size, "sources_per_class": 6, "siblings": 1},
                "tiles": {"size": size, "train_fraction": 0.5},
                "models": [WARM_UP, *MODELS],
                "attacks": {"fgsm": {"eps": "2/255"}, "pgd": {"eps": "1/255", "max_iterations": 3}},
                "evaluation": {"curves": {}, "autoattack": None, "checks": None},
            }
        )
    )


def store_models(prepared: Prepared, size: int) -> None:
    """Ingest the tiles, and publish networks that classify them correctly."""
    store, plan = prepared.store, prepared.plan
    (tiles,), (listing,) = plan.stage("ingest"), prepared.listings
    with stage_progress(Console(file=io.StringIO()), "ingest", 1, "files") as progress:
        ingest(tiles, listing.source, listing.items, LocalExecutor(ModelCache(store, CPU)), progress)
    (table,) = store.iter_tables("tiles", tiles.key, "test")
    images = torch.from_numpy(decode_images(table)).permute(0, 3, 1, 2).float() / 255
    for cell in plan.stage("train"):
        torch.manual_seed(0)
        classifier = build_classifier(cell.spec.model, len(tiles.spec.labels)).eval()
        fit_last_layer(classifier, images, torch.from_numpy(table["label"].to_numpy().copy()))
        card = ModelCard(cell.spec.model.name, tiles.spec.labels, size, *classifier.normalization)
        publish_model(cell, classifier, card, store)


def fit_last_layer(classifier: Classifier, images: Tensor, labels: Tensor) -> None:
    """Set the last linear layer to the least-squares solution for some tiles."""
    *_, last = (layer for layer in classifier.network.modules() if isinstance(layer, nn.Linear))
    features: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    with torch.no_grad():
        classifier(images)
        hook.remove()
        targets = nn.functional.one_hot(labels, last.out_features).double() * 10
        last.weight.copy_(torch.linalg.lstsq(features[0].double(), targets, driver="gelsd").solution.T)
        last.bias.zero_()


def attack_all(storage: Path, size: int) -> list[dict[str, Any]]:
    """Attack every cell in this process, and return the CPU seconds of each, with those of its passes."""
    torch.set_num_threads(1)
    prepared, passes = plan_cells(storage, size), [0.0]

    def time_passes(method: Any) -> Any:
        def timed(*arguments: Any, **options: Any) -> Any:
            begun = time.process_time()
            try:
                return method(*arguments, **options)
            finally:
                passes[0] += time.process_time() - begun

        return timed

    Victim.logits = time_passes(Victim.logits)  # type: ignore[method-assign]
    Victim.gradient = time_passes(Victim.gradient)  # type: ignore[method-assign]
    store = prepared.store
    executor, rows = LocalExecutor(ModelCache(store, CPU)), []
    for cell in prepared.plan.stage("attack"):
        if cell.spec.split == "test":
            store.remove(store.artifact(cell.kind, cell.key))
            passes[0], begun = 0.0, time.process_time()
            with stage_progress(Console(file=io.StringIO()), "attack", 1, "tiles") as progress:
                attack([cell], executor, progress)
            seconds = time.process_time() - begun
            facts = cell.manifest(store) or {}
            rows.append({"model": cell.model, "seconds": seconds, "passes": passes[0], "attacked": facts["attacked"]})
    return rows


def main() -> None:
    """Prepare a store for each size, then measure the versions in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="append", default=[], metavar="NAME=FOLDER", help="a checkout to measure")
    parser.add_argument("--sizes", type=int, nargs="*", default=[48, 64])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON record")
    parser.add_argument("--child", nargs=2, metavar=("STORE", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(attack_all(Path(options.child[0]), int(options.child[1]))))
        return
    versions = dict(each.split("=", 1) for each in options.version or ["now=."])
    record: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        for size in options.sizes:
            storage = Path(scratch) / str(size)
            store_models(plan_cells(storage, size), size)
            for number in range(options.repeats):
                for name, folder in versions.items():
                    command = [sys.executable, __file__, "--child", str(storage), str(size)]
                    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(folder).resolve())}
                    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
                    rows = json.loads(done.stdout.splitlines()[-1])
                    record += [{"version": name, "size": size, "round": number, **row} for row in rows]
                if options.out:
                    options.out.write_text(json.dumps({"cells": record}, indent=1) + "\n")
    report(record)


def report(record: list[dict[str, Any]]) -> None:
    """Print the median of the CPU seconds of a cell beyond its passes, for each size, model and version."""
    beyond: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for row in record:
        beyond[row["size"], row["model"], row["version"]].append(row["seconds"] - row["passes"])
    for (size, model, version), seconds in sorted(beyond.items()):
        print(f"{size} pixels, {model}, {version}: {statistics.median(seconds):.3f} s")


if __name__ == "__main__":
    main()
