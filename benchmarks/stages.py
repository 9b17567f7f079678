"""What training, ingest and prediction cost beyond the loops that anybody would write, and what a second core brings.

    python -m benchmarks.stages --data data/lc25000/lung_colon_image_set --groups data/lc25000/groups.csv
        --large data/lc25000_768 --out benchmarks/results/stages.json

- training: an epoch of the stage with one worker beside a bare loop over tensors in memory (same network, optimiser and
  batches, no decoding), and with two workers of half the tiles each;
- ingest: large JPEGs to tiles of 224 pixels: our decoding and resizing beside Pillow's in a loop, with their difference
  in pixels, and the whole stage on one core and on two, beside what two processes of that loop bring;
- prediction: `raypipe.evaluation.predict` beside the forward passes alone, and the reading of stored tiles besides.

They take turns, each on one thread. The seconds of ingest are from its call to the published artifact, with warm
workers; those of training are of its epochs.
"""

import argparse
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import nn

from raypipe.config import validate_experiment
from raypipe.data.images import decode
from raypipe.data.png import encode_png
from raypipe.data.tiles import images_of
from raypipe.evaluation.predict import predict
from raypipe.experiment import Resources
from raypipe.listing import Prepared, prepare
from raypipe.models.artifacts import load_model
from raypipe.models.classifier import build_classifier
from raypipe.stages.cluster import connected
from raypipe.stages.ingest import ingest
from raypipe.stages.train import train
from raypipe.store import Store
from raypipe.telemetry.stage import stage_progress

BATCH = 32
INGESTED = 224
PASSES = 5
"""Over the large JPEGs, by each of two processes at once: so that both work for most of the time."""
KEPT = ("files", "tiles", "size", "model", "epochs", "batch", "repeats")
"""The options that a record tells."""


def experiment_of(options: argparse.Namespace, storage: Path, **changes: Any) -> dict[str, Any]:
    """One backbone on about as many training tiles as asked for, in shards of 64."""
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
    """Print the median seconds of an epoch in a loop that knows nothing of raypipe but the network."""
    torch.set_num_threads(1)
    store = Store.open(storage)
    tables = [store.read_table(shard) for shard in store.shards("tiles", tiles, "train")]
    pixels = torch.from_numpy(np.concatenate([images_of(table) for table in tables]).transpose(0, 3, 1, 2).copy())
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
    """Seconds of an epoch of the bare loop, in a process of its own; or of several at once, which share its batches and
    its tiles and exchange nothing.
    """
    (cell,) = prepared.plan.stage("train")
    shared = argparse.Namespace(**{**vars(options), "batch": options.batch // processes})
    settings = experiment_of(shared, Path("unused"), models={"it": {"name": options.model}})
    words = [str(prepared.experiment.storage), cell.inputs["tiles"].key, json.dumps(settings), str(options.epochs)]
    command = [sys.executable, "-m", "benchmarks.stages", "--bare-training", *words]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    at_work = [subprocess.Popen(command, env=alone, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    # each goes through all tiles
    return statistics.mean(float(process.communicate()[0].splitlines()[-1]) for process in at_work) / processes


def run_training(prepared: Prepared, workers: int, console: Console) -> float:
    """Median seconds of the stage's epochs, the first left out."""
    (cell,) = prepared.plan.stage("train")
    prepared.store.remove(prepared.store.artifact(cell.kind, cell.key))
    with stage_progress(console, "train", 1, "epochs") as progress:
        train([cell], prepared.store, Resources(train_workers=workers), progress)
    history = (cell.manifest(prepared.store) or {})["history"]
    return statistics.median(epoch["seconds"] for epoch in history[1:])


def run_ingest(prepared: Prepared, workers: int, console: Console) -> float:
    """Seconds of the stage."""
    (cell,), listing = prepared.plan.stage("ingest"), prepared.listings[0]
    prepared.store.remove(prepared.store.artifact(cell.kind, cell.key))
    begun = time.perf_counter()
    with stage_progress(console, "ingest", len(listing.items), "files") as progress:
        size = (os.cpu_count() or 1) // workers  # of a worker, so that no more of them fit
        ingest(cell, listing.source, listing.items, prepared.store, Resources(cpus_per_worker=size), progress)
    return time.perf_counter() - begun


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def by_pillow(data: bytes) -> np.ndarray:
    """What one would write: decode, resize, keep."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB").resize((INGESTED, INGESTED), Image.Resampling.BILINEAR))


def by_us(data: bytes) -> bytes:
    """What the stage does with a file: decode, resize, encode."""
    return encode_png(decode(data, INGESTED, scaled=True))


def measure_decoding(large: Path) -> dict[str, float]:
    """Milliseconds an image of both ways, and how far apart their pixels are."""
    files = [path.read_bytes() for path in sorted(large.rglob("*.jp*g"))]
    plain = [by_pillow(data) for data in files]
    ours = [decode(data, INGESTED, scaled=True) for data in files]
    apart = np.abs(np.stack(plain).astype(int) - np.stack(ours).astype(int))
    return {
        "pillow": 1000 * timed(lambda: [by_pillow(data) for data in files]) / len(files),
        "ours": 1000 * timed(lambda: [decode(data, INGESTED, scaled=True) for data in files]) / len(files),
        "ours, encoded": 1000 * timed(lambda: [by_us(data) for data in files]) / len(files),
        "mean difference of 255": float(apart.mean()),
        "99th percentile of 255": float(np.percentile(apart, 99)),
    }


def bare_decoding(large: str) -> None:
    """Print the milliseconds an image that decoding and encoding take in a loop that does nothing else."""
    torch.set_num_threads(1)
    files = [path.read_bytes() for path in sorted(Path(large).rglob("*.jp*g"))] * PASSES
    by_us(files[0])  # imports what it needs
    print(1000 * timed(lambda: [by_us(data) for data in files]) / len(files))


def run_bare_decoding(large: Path, processes: int) -> float:
    """The same of so many processes at once, each with all images: their mean, over their number."""
    command = [sys.executable, "-m", "benchmarks.stages", "--bare-decoding", str(large)]
    at_work = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return statistics.mean(float(process.communicate()[0]) for process in at_work) / processes


def measure_prediction(prepared: Prepared) -> dict[str, float]:
    """Milliseconds a tile: forward passes alone, `predict`, and `predict` with the reading of stored tiles."""
    (cell,), store = prepared.plan.stage("train"), prepared.store
    classifier, device = load_model(store, cell.key)[0], torch.device("cpu")
    shards = store.shards("tiles", cell.inputs["tiles"].key, "train")
    images = np.concatenate([images_of(store.read_table(shard)) for shard in shards])
    batches = list(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float().div(255).split(BATCH))

    @torch.no_grad()
    def floor() -> None:
        classifier.eval()
        for batch in batches:
            classifier(batch)

    def read() -> None:
        for shard in shards:
            predict(classifier, images_of(store.read_table(shard)), BATCH, device)

    floor()
    count = len(images)
    return {
        "forward passes": 1000 * timed(floor) / count,
        "predict": 1000 * timed(lambda: predict(classifier, images, BATCH, device)) / count,
        "predict from the store": 1000 * timed(read) / count,
    }


def copies_of(large: Path, folder: Path, count: int) -> None:
    """A data set of so many files of large JPEGs; repeated ones are links."""
    files = sorted(large.rglob("*.jp*g"))
    for number in range(count):
        file = files[number % len(files)]
        place = folder / file.parent.name / f"{number}.jpeg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(file.resolve())


def main() -> None:
    """Prepare once, then measure in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="LC25000's folder or zip")
    parser.add_argument("--groups", help="CSV of its source tiles")
    parser.add_argument("--large", type=Path, help="a folder with class folders of large JPEGs")
    parser.add_argument("--files", type=int, default=2000, help="of the ingest: large ones, repeated")
    parser.add_argument("--tiles", type=int, default=500, help="of the training")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=BATCH, help="of a training step, over all workers")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON record")
    parser.add_argument("--bare-training", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--bare-decoding", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare_training:
        bare_training(*options.bare_training)
        return
    if options.bare_decoding:
        bare_decoding(options.bare_decoding)
        return
    torch.set_num_threads(1)
    console, rounds = Console(), []
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        small = prepare(validate_experiment(experiment_of(options, root / "small")))
        large = None
        if options.large:
            copies_of(options.large, root / "files", options.files)
            settings = {"data": {"source": "folder", "path": str(root / "files")}}
            settings["tiles"] = {"size": INGESTED, "shard_size": 64, "split": "paper"}  # type: ignore[dict-item]
            large = prepare(validate_experiment(experiment_of(options, root / "large", **settings)))
        with connected(None, root / "ray.log"):
            run_ingest(small, 2, console)
            for _ in range(options.repeats):
                turn: dict[str, Any] = {
                    "bare loop": run_bare_training(small, options),
                    "two bare loops": run_bare_training(small, options, 2),
                    "one worker": run_training(small, 1, console),
                    "two workers": run_training(small, 2, console),
                    "prediction": measure_prediction(small),
                }
                if large:
                    turn["decoding"] = measure_decoding(options.large)
                    order = (1, 2) if len(rounds) % 2 else (2, 1)
                    turn["bare decoding"] = {str(cores): run_bare_decoding(options.large, cores) for cores in order}
                    turn["ingest"] = {str(cores): run_ingest(large, cores, console) for cores in order}
                rounds.append(turn)
    report(rounds, options, console)


def report(rounds: list[dict[str, Any]], options: argparse.Namespace, console: Console) -> None:
    """Ratios of medians against their goals."""

    def median(*path: str) -> float:
        found = rounds
        for name in path:
            found = [turn[name] for turn in found]
        return statistics.median(found)  # type: ignore[arg-type]

    ratios = {
        ("training: an epoch, one worker over the bare loop", "<= 1.05"): median("one worker") / median("bare loop"),
        ("training: one worker's epoch over two workers'", ">= 1.7"): median("one worker") / median("two workers"),
        ("training: the bare loop over two at once, half a batch each, that exchange nothing", ""): median("bare loop")
        / median("two bare loops"),
        ("prediction over its forward passes", "<= 1.15"): median("prediction", "predict")
        / median("prediction", "forward passes"),
        ("prediction from the store over its forward passes", "<= 1.15"): median("prediction", "predict from the store")
        / median("prediction", "forward passes"),
    }
    if options.large:
        ratios |= {
            ("decoding: Pillow over ours", ">= 2"): median("decoding", "pillow") / median("decoding", "ours"),
            ("decoding: Pillow over ours and encoding", ">= 2"): median("decoding", "pillow")
            / median("decoding", "ours, encoded"),
            ("decoding and encoding in a loop: one process over two at once", ""): median("bare decoding", "1")
            / median("bare decoding", "2"),
            ("ingest: one core over two", ">= 1.8"): median("ingest", "1") / median("ingest", "2"),
        }
    table = Table(title=f"Medians of {len(rounds)} rounds")
    for column in ("ratio", "goal", ""):
        table.add_column(column, justify="right" if not column else "left")
    for (name, goal), ratio in ratios.items():
        table.add_row(name, goal, f"{ratio:.2f}")
    console.print(table)
    if options.out:
        machine = {"python": platform.python_version(), "torch": torch.__version__, "cpus": os.cpu_count()}
        named = {name: ratio for (name, _), ratio in ratios.items()}
        record = {
            "options": {name: getattr(options, name) for name in KEPT},
            "machine": machine,
            "rounds": rounds,
            "ratios": named,
        }
        options.out.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
