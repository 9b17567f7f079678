"""Online adversarial training beside its floor: ``python -m benchmarks.hardening --out FILE``.

The floor of a defense is the passes that its definition demands, in full batches of tiles that are decoded already: the
input gradients of the inner attack, the pass of the loss with the gradients of the weights, and the optimizer's step.
An epoch of raypipe also decodes and augments the tiles, projects the steps, clips the gradients, averages the weights
and keeps its records. Both are measured in turns, in seconds of CPU time of one thread.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from raypipe.attacks.engine.victim import freeze
from raypipe.data.reading.png import encode_png
from raypipe.data.tissue import LABELS, render_tile
from raypipe.defenses.fast_training import FastTraining
from raypipe.defenses.mart import Mart
from raypipe.defenses.online import OnlineTraining
from raypipe.defenses.pgd_training import PgdTraining
from raypipe.defenses.trades import Trades
from raypipe.models.backbones.base import compute_classification_loss
from raypipe.models.classifier import Model, build_classifier
from raypipe.training.dataset import TileDataset
from raypipe.training.fit import Fit
from raypipe.training.recipe import Recipe

CPU, CLASSES = torch.device("cpu"), len(LABELS)
STEPS = 3
DEFENSES: dict[str, OnlineTraining] = {
    "fast_training": FastTraining(),
    "pgd_training": PgdTraining(steps=STEPS),
    "trades": Trades(steps=STEPS),
    "mart": Mart(steps=STEPS),
}
"""Defenses, with few steps of their attacks: the fewer passes, the more the rest of the work weighs."""
GOAL = 1.1


def main() -> None:
    """Measure each defense in turns with its floor, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["resnet18", "shufflenet_v2_x1_0", "googlenet"])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tiles", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON record")
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset, images, labels = draw_tiles(options.tiles, options.size)
    rounds = {}
    for model in options.models:
        for name, defense in DEFENSES.items():
            rounds[f"{model}, {name}"] = [
                {
                    "floor": timed(prepare_floor(model, defense, images, labels, options.batch)),
                    "epoch": timed(prepare_epoch(model, defense, dataset, options.batch)),
                }
                for _ in range(options.repeats)
            ]
    report(rounds, options)


def draw_tiles(count: int, size: int) -> tuple[TileDataset, Tensor, Tensor]:
    """Return synthetic tiles as a data set of encoded tiles, and as tensors."""
    labels = [number % CLASSES for number in range(count)]
    pixels = [render_tile(LABELS[label], number, 0, size=size, seed=0) for number, label in enumerate(labels)]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    return TileDataset([encode_png(each) for each in pixels], labels), images.contiguous(), torch.tensor(labels)


def prepare_floor(
    model: str, defense: OnlineTraining, images: Tensor, labels: Tensor, batch: int
) -> Callable[[], object]:
    """Return a function that takes the passes of an epoch of a defense, and nothing else."""
    network = build_classifier(Model(name=model), CLASSES).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
    steps = defense.prepare_training(network, Recipe(), network)
    scored = steps.objective(network, images[:batch], labels[:batch], 0.9)
    network.zero_grad()
    shown = 2 if defense.shows_clean_tiles else 1
    attack = scored.backwards - shown

    def run() -> None:
        for clean, truth in zip(images.split(batch), labels.split(batch), strict=True):
            points = clean
            with freeze(network) as victim:
                for _ in range(attack):
                    points = points.detach().requires_grad_()
                    torch.autograd.grad(nn.functional.cross_entropy(victim(points), truth, reduction="sum"), points)
            optimizer.zero_grad()
            compute_classification_loss(network(points.detach().repeat(shown, 1, 1, 1)), truth.repeat(shown)).backward()
            optimizer.step()

    return run


def prepare_epoch(model: str, defense: OnlineTraining, dataset: TileDataset, batch: int) -> Callable[[], object]:
    """Return a function that trains for one epoch."""
    network = build_classifier(Model(name=model), CLASSES).to(memory_format=torch.channels_last)
    recipe = Recipe(epochs=1, batch_size=batch)
    steps = defense.prepare_training(network, recipe, network)
    fit = Fit(network, recipe, -(-len(dataset) // batch), device=CPU, seed=0, objective=steps.objective)
    return lambda: list(fit.epochs(dataset, batch))


def timed(work: Callable[[], object]) -> float:
    """Return the CPU seconds of a piece of work."""
    began = time.process_time()
    work()
    return time.process_time() - began


def report(rounds: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> None:
    """Print the median ratio of each network and defense, and write the record."""
    ratios = {
        name: statistics.median(turn["epoch"] / turn["floor"] for turn in turns) for name, turns in rounds.items()
    }
    milliseconds = {
        name: 1000 * statistics.median(turn["epoch"] for turn in turns) / options.tiles
        for name, turns in rounds.items()
    }
    table = Table(title=f"An epoch over its floor, {options.size} pixels; goal: at most {GOAL}")
    for column in ("", "ms per tile", "ratio"):
        table.add_column(column, justify="right" if column else "left")
    for name, ratio in ratios.items():
        table.add_row(name, f"{milliseconds[name]:.1f}", f"{ratio:.2f}")
    Console().print(table)
    if options.out:
        record = {
            "options": {name: value for name, value in vars(options).items() if name != "out"},
            "machine": {"python": platform.python_version(), "torch": torch.__version__, "cpus": os.cpu_count()},
            "milliseconds per tile": milliseconds,
            "ratios": ratios,
            "rounds": rounds,
        }
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
