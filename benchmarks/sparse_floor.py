"""Sparse attacks beside their floor: ``python -m benchmarks.sparse_floor --out FILE``.

The floor of an attack is the cost of its own passes if every batch were full. Three things lie between an attack and
its floor: batches that shrink because tiles are done, backward passes of tiles that are done in the same step, and all
work outside of the network, such as the search for the most salient features. "Passes" are those that were made, in
batches of their own sizes. All are seconds of CPU time of one thread; full batches are measured before and after.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.attacks.passes import PassCosts, warm_up
from raypipe.attacks import get_attack
from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.prepare import PreparedModel, prepare
from raypipe.attacks.engine.victim import Victim, freeze
from raypipe.attacks.saliency_map import SaliencyMap
from raypipe.attacks.sparse_l0 import SparseL0
from raypipe.data.reading.png import encode_png
from raypipe.data.tissue import LABELS, render_tile
from raypipe.evaluation.predict import predict
from raypipe.models.classifier import Classifier, Model, build_classifier
from raypipe.training.dataset import TileDataset
from raypipe.training.fit import Fit
from raypipe.training.recipe import Recipe

CPU = torch.device("cpu")
EPOCHS = {"resnet18": 8, "googlenet": 8, "shufflenet_v2_x1_0": 12}
ATTACKS: dict[str, NamedAttack] = {
    "saliency_map": SaliencyMap(),
    "saliency_map, pairs": SaliencyMap(rule="pair"),
    "sparse_l0": SparseL0(),
}
TRAINING_SOURCES, TEST_SOURCES = 40, 12
GOAL = 1.2


@dataclass(frozen=True)
class Subject:
    """A prepared model, with tiles (n, 3, h, w) in [0, 1] that it classifies correctly, and their classes (n,)."""

    prepared: PreparedModel
    images: Tensor
    labels: Tensor


def main() -> None:
    """Measure each attack on each model, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(EPOCHS), choices=EPOCHS)
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS), choices=ATTACKS)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--tiles", type=int, nargs="+", default=[16, 24])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--store", type=Path, default=Path("results/sparse-floor"), help="folder of the trained models")
    parser.add_argument("--out", type=Path, help="JSON record")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for model in options.models:
        subject = load_subject(model, options.size, max(options.tiles), options.store)
        for tiles in options.tiles:
            for name in options.attacks:
                rounds = [measure(subject, ATTACKS[name], tiles) for _ in range(options.repeats)]
                rows.append({"model": model, "tiles": tiles, "attack": name, **summarize(rounds)})
                print(json.dumps(rows[-1]), flush=True)
    report(rows, options)


def load_subject(name: str, size: int, count: int, store: Path) -> Subject:
    """Return a model with its tiles, after training it on synthetic tissue if it is not in the folder.

    Raises
    ------
    RuntimeError
        If the model classifies too few test tiles correctly.
    """
    torch.manual_seed(0)
    model = build_classifier(Model(name=name), len(LABELS))
    file = store / f"{name}-{size}.pt"
    if file.is_file():
        model.load_state_dict(torch.load(file, weights_only=True))
    else:
        model = train_model(model, EPOCHS[name], size)
        store.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), file)
    model.eval()
    pixels, labels = draw(1000, TEST_SOURCES, size)
    right = (predict(model, pixels, 32, CPU).argmax(1) == labels).nonzero()[0][:count]
    if len(right) < count:
        raise RuntimeError(
            f"{name} classifies {len(right)} of {len(labels)} tiles correctly: expected at least {count}"
        )
    images = torch.from_numpy(pixels[right]).permute(0, 3, 1, 2).contiguous().float() / 255
    prepared = prepare(model, (3, size, size), device=CPU)
    warm_up(prepared.fast, images)
    return Subject(prepared, images, torch.from_numpy(labels[right]))


def train_model(model: Classifier, epochs: int, size: int) -> Classifier:
    """Return the model, trained on synthetic tissue."""
    pixels, labels = draw(0, TRAINING_SOURCES, size)
    dataset = TileDataset([encode_png(tile) for tile in pixels], labels.tolist())
    recipe = Recipe(epochs=epochs, batch_size=20, learning_rate=2e-3)
    fit = Fit(model, recipe, len(dataset) // recipe.batch_size, device=CPU, seed=0)
    for record in fit.epochs(dataset, recipe.batch_size):
        print(f"epoch {record.epoch} of {epochs}: loss {record.loss:.3f}, accuracy {record.accuracy:.2f}", flush=True)
    fit.recalibrate(dataset, len(dataset), lambda total: total)
    trained = fit.evaluated
    if not isinstance(trained, Classifier):
        raise TypeError(f"{type(trained).__name__}: expected a Classifier")
    return trained


def draw(first: int, sources: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return synthetic tiles (n, h, w, 3), uint8, of each class in turns, and their classes (n,)."""
    names = [(label, first + source) for source in range(sources) for label in LABELS]
    pixels = np.stack([render_tile(label, source, 0, size=size, seed=0) for label, source in names])
    return pixels, np.array([LABELS.index(label) for label, _ in names])


class TimedVictim(Victim):
    """A victim that adds up the CPU seconds of its passes and the numbers of images in them.

    A backward pass counts the tiles that need its gradient. `done` counts the others, which are done in the same step.
    """

    def __init__(self, model: nn.Module, tiles: int, batch_size: int) -> None:
        super().__init__(model, tiles, batch_size)
        self.seconds = 0.0
        self.images: Counter[str] = Counter()

    def logits(self, images: Tensor, rows: Tensor) -> Tensor:
        """Run and time a forward pass."""
        began = time.thread_time()
        logits = super().logits(images, rows)
        self.seconds += time.thread_time() - began
        self.images["forward" if logits.requires_grad else "predict"] += len(images)
        return logits

    def gradient(self, objective: Tensor, images: Tensor, rows: Tensor, retain_graph: bool = False) -> Tensor:
        """Run and time a backward pass."""
        began = time.thread_time()
        gradient = super().gradient(objective, images, rows, retain_graph)
        self.seconds += time.thread_time() - began
        self.images["backward"] += len(rows)
        self.images["done"] += len(images) - len(rows)
        return gradient


def measure(subject: Subject, settings: NamedAttack, tiles: int) -> dict[str, float]:
    """Return the CPU seconds of an attack, of its passes and of its floor, its numbers of passes, and its success."""
    prepared, images, labels = subject.prepared, subject.images[:tiles], subject.labels[:tiles]
    costs = PassCosts(prepared.fast, images, min(prepared.batch_size, tiles))
    victim = TimedVictim(prepared.fast, tiles, prepared.batch_size)
    with freeze(prepared.plain):
        began = time.thread_time()
        result = get_attack(settings).generate(victim, images, Goal(labels), settings)
        seconds = time.thread_time() - began
    before = costs.full
    costs.refresh()
    each = {kind: (before[kind] + costs.full[kind]) / 2 for kind in before}
    with torch.no_grad():
        success = prepared.plain(result).argmax(1) != labels
    changed = (result != images).flatten(1).sum(1)
    return {
        "seconds": seconds,
        "passes": victim.seconds,
        "floor": sum(victim.images[kind] * cost for kind, cost in each.items()),
        "forward images": victim.images["forward"] + victim.images["predict"],
        "backward images": victim.images["backward"],
        "backward images of done tiles": victim.images["done"],
        "success": float(success.float().mean()),
        "median l0": float(changed[success].float().median()) if success.any() else 0.0,
    }


def summarize(rounds: list[dict[str, float]]) -> dict[str, Any]:
    """Return the medians of the rounds, and the medians of their ratios."""
    medians = {name: statistics.median(turn[name] for turn in rounds) for name in rounds[0]}
    for name, over in (("over floor", "floor"), ("over passes", "passes")):
        medians[name] = statistics.median(turn["seconds"] / turn[over] for turn in rounds)
    return medians


def report(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Print the rows, and write the record."""
    table = Table(title=f"Medians of {options.repeats} rounds; goal: at most {GOAL} times the floor")
    for column in ("model", "tiles", "attack", "seconds", "passes", "floor", "over passes", "over floor"):
        table.add_column(column)
    for row in rows:
        cells = [f"{row[name]:.2f}" for name in ("seconds", "passes", "floor", "over passes", "over floor")]
        table.add_row(row["model"], str(row["tiles"]), row["attack"], *cells)
    Console().print(table)
    if options.out:
        machine = {"python": platform.python_version(), "torch": torch.__version__, "cpus": os.cpu_count()}
        record = {"machine": machine, "size": options.size, "repeats": options.repeats, "rows": rows}
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
