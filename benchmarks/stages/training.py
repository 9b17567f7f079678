"""Training and prediction beside plain loops."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn

from raypipe.data.tiles import decode_images
from raypipe.evaluation.predict import predict
from raypipe.experiment.load import validate_experiment
from raypipe.experiment.schema import Resources
from raypipe.models.artifacts import load_model
from raypipe.models.classifier import build_classifier
from raypipe.plan.listing import Prepared
from raypipe.progress.stage import stage_progress
from raypipe.stages.train import train
from raypipe.storage.store import Store

BATCH = 32


def experiment_of(options: argparse.Namespace, storage: Path, **changes: Any) -> dict[str, Any]:
    """Return the settings of one backbone on about the requested number of training tiles, in shards of 64."""
    per_class = -(-options.tiles * 10 // (7 * 5))
    data: dict[str, Any] = {"source": "synthetic", "sources_per_class": -(-per_class // 10), "siblings": 10, "size": 64}
    if options.data:
        data = {"source": "lc25000", "path": options.data, "groups": options.groups, "per_class": per_class}
    return {
        "name": "stages",
        "storage": str(storage),
        "data": data,
        "tiles": {"size": options.size, "shard_size": 64},
        "models": [options.model],
        "train": {"epochs": options.epochs, "batch_size": options.batch},
        "attacks": ["fgsm"],
        **changes,
    }


def bare_training(storage: str, tiles: str, settings: str, epochs: str) -> None:
    """Print the median seconds per epoch of a loop that uses nothing of raypipe except the network."""
    torch.set_num_threads(1)
    store = Store.open(storage)
    tables = [store.read_table(shard) for shard in store.shards("tiles", tiles, "train")]
    pixels = torch.from_numpy(np.concatenate([decode_images(table) for table in tables]).transpose(0, 3, 1, 2).copy())
    labels = torch.from_numpy(np.concatenate([table["label"].to_numpy() for table in tables]))
    experiment = validate_experiment(json.loads(settings))
    network = build_classifier(experiment.models["it"], int(labels.max()) + 1)
    optimizer, loss_of = torch.optim.Adam(network.parameters(), 1e-3), nn.CrossEntropyLoss()
    stacked = torch.utils.data.TensorDataset(pixels, labels)
    loader = torch.utils.data.DataLoader(stacked, experiment.train.batch_size, shuffle=True)
    network.train()
    seconds = []
    for _ in range(int(epochs)):
        begun = time.perf_counter()
        for images, targets in loader:
            optimizer.zero_grad()
            loss_of(network(images.float() / 255), targets).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - begun)
    print(statistics.median(seconds[1:]))


def run_bare_training(prepared: Prepared, options: argparse.Namespace, processes: int = 1) -> float:
    """Return the seconds per epoch of the bare loop in processes of its own, divided by their number.

    Several processes run at once, divide its batches and tiles among them, and exchange nothing.
    """
    (cell,) = prepared.plan.stage("train")
    shared = argparse.Namespace(**{**vars(options), "batch": options.batch // processes})
    settings = experiment_of(shared, Path("unused"), models={"it": {"name": options.model}})
    words = [str(prepared.experiment.storage), cell.inputs["tiles"].key, json.dumps(settings), str(options.epochs)]
    command = [sys.executable, "-m", "benchmarks.stages", "--bare-training", *words]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    at_work = [subprocess.Popen(command, env=alone, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    # Each process goes through all tiles, so the mean is divided by their number.
    return statistics.mean(float(process.communicate()[0].splitlines()[-1]) for process in at_work) / processes


def run_training(prepared: Prepared, workers: int, console: Console) -> float:
    """Return the median seconds of the stage's epochs without the first."""
    (cell,) = prepared.plan.stage("train")
    prepared.store.remove(prepared.store.artifact(cell.kind, cell.key))
    with stage_progress(console, "train", 1, "epochs") as progress:
        train([cell], prepared.store, Resources(train_workers=workers), progress)
    history = (cell.manifest(prepared.store) or {})["history"]
    return statistics.median(epoch["seconds"] for epoch in history[1:])


def measure_prediction(prepared: Prepared) -> dict[str, float]:
    """Return milliseconds per tile: forward passes alone, `predict`, and `predict` with the reading of stored tiles."""
    (cell,), store = prepared.plan.stage("train"), prepared.store
    classifier, device = load_model(store, cell.key)[0], torch.device("cpu")
    shards = store.shards("tiles", cell.inputs["tiles"].key, "train")
    images = np.concatenate([decode_images(store.read_table(shard)) for shard in shards])
    batches = list(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float().div(255).split(BATCH))

    @torch.no_grad()
    def floor() -> None:
        classifier.eval()
        for batch in batches:
            classifier(batch)

    def read() -> None:
        for shard in shards:
            predict(classifier, decode_images(store.read_table(shard)), BATCH, device)

    floor()
    count = len(images)
    return {
        "forward passes": 1000 * timed(floor) / count,
        "predict": 1000 * timed(lambda: predict(classifier, images, BATCH, device)) / count,
        "predict from the store": 1000 * timed(read) / count,
    }


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
