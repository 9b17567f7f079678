"""The cost of the attack stage beyond the attack itself, and the gain from a second actor.

Three ways attack the same shards and the same model with DeepFool, in turns: a bare loop in one process, the stage with
one actor, and the stage with two. The loop reads and decodes shards, attacks, and discards the result. The stage starts
actors that import everything again; it encodes, writes and publishes the results.

    python -m benchmarks.attack_stage --data data/lc25000/lung_colon_image_set --groups data/lc25000/groups.csv

Without `--data`, the tiles are synthetic tissue.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.stages.training import BATCH, experiment_of
from raypipe.attacks.deepfool import DeepFool
from raypipe.attacks.engine.generate import generate
from raypipe.attacks.engine.prepare import prepare as prepare_model
from raypipe.data.tiles import decode_images
from raypipe.execution.attack import attack
from raypipe.execution.ingest import ingest
from raypipe.experiment.load import validate_experiment
from raypipe.experiment.schema import Resources
from raypipe.models.artifacts import load_model
from raypipe.plan.cells import Cell
from raypipe.plan.listing import prepare
from raypipe.progress.stage import stage_progress
from raypipe.stages.cluster import connect
from raypipe.stages.cluster_executor import ClusterExecutor
from raypipe.stages.train import train
from raypipe.storage.store import Store


def bare(storage: str, tiles: str, model: str) -> None:
    """Run the loop in a process of its own with one thread, and print its seconds."""
    torch.set_num_threads(1)
    store = Store.open(storage)
    begun = time.perf_counter()
    prepared = None
    for shard in store.shards("tiles", tiles, "train"):
        table = store.read_table(shard)
        images = decode_images(table)
        if prepared is None:
            _, height, width, channels = images.shape
            classifier = load_model(store, model)[0]
            prepared = prepare_model(classifier, (channels, height, width), device="cpu")
        generate(prepared, images, table["label"].to_numpy(), DeepFool())
    print(json.dumps({"loop": time.perf_counter() - begun}))


def run_bare(cell: Cell, storage: Path) -> dict[str, float]:
    """Return the seconds of the loop, and of its whole process."""
    keys = [cell.inputs["tiles"].key, cell.inputs["model"].key]
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.attack_stage", "--bare", str(storage), *keys],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return {**json.loads(done.stdout.splitlines()[-1]), "process": time.perf_counter() - begun}


def run_stage(cell: Cell, store: Store, actors: int, console: Console) -> dict[str, float]:
    """Return the seconds of the stage from its call to its published artifact."""
    store.remove(store.artifact(cell.kind, cell.key))
    begun = time.perf_counter()
    with stage_progress(console, "attack", 1, "tiles") as progress:
        attack([cell], ClusterExecutor(store, Resources(attack_actors=actors)), progress)
    facts = cell.manifest(store) or {}
    return {"stage": time.perf_counter() - begun, "tiles": facts["tiles"], "fooled": facts["success_rate"]}


def main() -> None:
    """Prepare a store once, then measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="LC25000's folder or zip")
    parser.add_argument("--groups", help="CSV of its source tiles")
    parser.add_argument("--tiles", type=int, default=1000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=BATCH, help="of a training step")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--store", type=Path, help="kept for another run; default: a temporary folder")
    parser.add_argument("--out", type=Path, help="JSON record")
    parser.add_argument("--bare", nargs=3, metavar=("STORE", "TILES", "MODEL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        bare(*options.bare)
        return
    console = Console()
    with tempfile.TemporaryDirectory() as scratch:
        storage = options.store or Path(scratch)
        prepared = prepare(
            validate_experiment(
                experiment_of(options, storage, attacks=["deepfool"], defenses=["adversarial_training"])
            )
        )
        store, plan, resources = prepared.store, prepared.plan, prepared.experiment.resources
        with connect(None, storage / "ray.log"):
            (tiles,), (listing,) = plan.stage("ingest"), prepared.listings
            if not tiles.manifest(store):
                with stage_progress(console, "ingest", len(listing.items), "files") as progress:
                    ingest(tiles, listing.source, listing.items, ClusterExecutor(store, resources), progress)
            if not plan.stage("train")[0].manifest(store):
                with stage_progress(console, "train", options.epochs, "epochs") as progress:
                    train(plan.stage("train"), store, resources, progress)
            cell = next(cell for cell in plan.stage("attack") if cell.spec.split == "train")
            rounds = [
                {
                    "bare": run_bare(cell, storage),
                    "one actor": run_stage(cell, store, 1, console),
                    "two actors": run_stage(cell, store, 2, console),
                }
                for _ in range(options.repeats)
            ]
    report(rounds, options, console)


def report(rounds: list[dict[str, dict[str, float]]], options: argparse.Namespace, console: Console) -> None:
    """Print the medians and the two most important ratios."""
    loop, process, one, two = (
        statistics.median(turn[who][what] for turn in rounds)
        for who, what in (("bare", "loop"), ("bare", "process"), ("one actor", "stage"), ("two actors", "stage"))
    )
    ratios = {
        "overhead over the loop": statistics.median(
            turn["one actor"]["stage"] / turn["bare"]["loop"] for turn in rounds
        )
        - 1,
        "overhead over its process": statistics.median(
            turn["one actor"]["stage"] / turn["bare"]["process"] for turn in rounds
        )
        - 1,
        "two actors against one": statistics.median(
            turn["one actor"]["stage"] / turn["two actors"]["stage"] for turn in rounds
        ),
    }
    table = Table(
        title=f"DeepFool on {rounds[0]['one actor']['tiles']:.0f} tiles of {options.size} px, {options.model}"
    )
    table.add_column("median of " + str(len(rounds)))
    table.add_column("seconds", justify="right")
    for name, seconds in (
        ("bare loop", loop),
        ("its process", process),
        ("stage, one actor", one),
        ("stage, two", two),
    ):
        table.add_row(name, f"{seconds:.1f}")
    for name, ratio in ratios.items():
        table.add_row(name, f"{ratio:.3f}")
    console.print(table)
    if options.out:
        machine = {"python": platform.python_version(), "torch": torch.__version__, "cpus": os.cpu_count()}
        record = {"options": vars(options), "machine": machine, "rounds": rounds, "ratios": ratios}
        options.out.write_text(json.dumps(record, indent=1, default=str))


if __name__ == "__main__":
    main()
