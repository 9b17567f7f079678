"""The command line: ``python -m benchmarks.stages --data FOLDER --groups CSV --large FOLDER --out FILE``."""

import argparse
import json
import os
import platform
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.stages.ingesting import (
    INGESTED,
    bare_decoding,
    copies_of,
    measure_decoding,
    on_one_core,
    run_bare_decoding,
    run_ingest,
)
from benchmarks.stages.training import (
    BATCH,
    bare_training,
    experiment_of,
    measure_prediction,
    run_bare_training,
    run_training,
)
from raypipe.experiment.load import validate_experiment
from raypipe.plan.listing import prepare
from raypipe.stages.cluster import connect

KEPT = ("files", "tiles", "size", "model", "epochs", "batch", "repeats")
"""Names of the options that a record keeps."""


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
        with connect(None, root / "ray.log"):
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
                    turn["ingest"] = {str(workers): run_ingest(large, workers, console) for workers in order}
                    with on_one_core():
                        turn["ingest"]["one core"] = run_ingest(large, 1, console)
                rounds.append(turn)
    report(rounds, options, console)


def report(rounds: list[dict[str, Any]], options: argparse.Namespace, console: Console) -> None:
    """Print the ratios of medians against their goals."""

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
            ("ingest: all of it on one core, over two", ">= 1.8"): median("ingest", "one core") / median("ingest", "2"),
            ("ingest: one worker, and Ray on the other core, over two workers", ""): median("ingest", "1")
            / median("ingest", "2"),
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
