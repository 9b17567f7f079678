"""Short trials on this machine's device: the time per tile to decode, to train, to attack and to predict.

An untrained network is fooled either by everything or by nothing. Each backbone is therefore trained on some of the
experiment's own tiles. Every attack of the experiment then runs on a few tiles that the backbone classifies correctly.
For an attack on training tiles these are tiles that it was trained on; for one on test tiles they are others.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from raypipe.attacks.engine.cascade import generate_over_radii
from raypipe.attacks.engine.generate import Adversarials
from raypipe.attacks.engine.norms import BoundedAttack
from raypipe.attacks.engine.prepare import prepare
from raypipe.base.errors import StageError
from raypipe.data.reading.png import encode_png
from raypipe.data.source import Source, shuffle_by_hash
from raypipe.data.tiles import TileItem, decode_images, make_tiles
from raypipe.evaluation.checks.planted import run_binarization_test
from raypipe.evaluation.checks.probe import probe
from raypipe.evaluation.predict import predict
from raypipe.experiment.schema import Resources
from raypipe.models.checkpoint import ModelCard, save_classifier
from raypipe.models.classifier import Classifier, Model, build_classifier
from raypipe.plan.cells import Cell, Split
from raypipe.training.batch_statistics import MOST_PER_EPOCH
from raypipe.training.dataset import TileDataset
from raypipe.training.fit import Fit
from raypipe.training.recipe import Recipe

TRAINING_TILES, TEST_TILES = 192, 96
EPOCHS, TRAINING_SECONDS = 20, 120
"""Limits of a trial's training. It has fewer epochs if the experiment has fewer, and at least two: the first epoch, in
which memory is allocated, is not timed. A network that has learned too little may resist attacks that fool a better
one: after 6 epochs a saliency map on GoogLeNet seemed to need ten times the passes."""
LEARNED = 0.95
"""Training accuracy at which a network has learned enough to be attacked, in [0, 1]."""
BATCH = 32


@dataclass(frozen=True)
class TilesTrial:
    """Some tiles of the experiment, and the time and size of each.

    Parameters
    ----------
    images, labels
        Tiles (n, h, w, 3), uint8, and their classes (n,).
    encoded
        Encoded images of the tiles, as they are stored.
    seconds, size
        Seconds to decode, resize and encode a tile, and bytes of a stored tile.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    encoded: tuple[bytes, ...]
    seconds: float
    size: float

    def select(self, places: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the images and labels of the tiles at some positions."""
        return self.images[places], self.labels[places]


@dataclass(frozen=True)
class TrialAttack:
    """An attack to try.

    Parameters
    ----------
    spec
        Specification from a cell, `raypipe.plan.cells.AttackSpec`.
    earlier
        Keys of the attacks whose results it starts from.
    """

    spec: Any
    earlier: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The settings that the attack's cost depends on, as a key."""
        return attack_key(self.spec)


@dataclass(frozen=True)
class AttackTrial:
    """The cost of an attack per tile that the network classifies correctly: passes, seconds, and bytes stored."""

    forwards: float
    backwards: float
    seconds: float
    size: float


@dataclass(frozen=True)
class ModelTrial:
    """The cost of a backbone: seconds per tile, and bytes of its checkpoint.

    Parameters
    ----------
    training
        Seconds of the forward pass, the backward pass and the optimizer's step.
    prediction
        Seconds of a forward pass.
    diagnosis, planted
        Seconds of the probe, and of the search for a planted example.
    accuracy
        Accuracy on test tiles after the short training, in [0, 1].
    attacks
        Costs of the attacks by `TrialAttack.key`.
    """

    training: float
    prediction: float
    diagnosis: float
    planted: float
    size: int
    accuracy: float
    attacks: dict[str, AttackTrial] = field(default_factory=dict)


def try_tiles(source: Source, items: Iterable[TileItem], spec: Any) -> dict[Split, TilesTrial]:
    """Ingest some tiles of every class, from both sides of the split.

    Parameters
    ----------
    spec
        Specification from the cell that ingests the tiles, `raypipe.plan.cells.IngestSpec`.

    Raises
    ------
    StageError
        If no tile of a split can be read.
    """
    items = list(items)
    counts: dict[Split, int] = {"train": TRAINING_TILES, "test": TEST_TILES}
    return {split: _try_side(source, items, spec, split, count) for split, count in counts.items()}


def _try_side(source: Source, items: Sequence[TileItem], spec: Any, split: Split, count: int) -> TilesTrial:
    members: dict[str, list[TileItem]] = {}
    for item in items:
        if item.split == split:
            members.setdefault(str(item.ref.label_name), []).append(item)
    each = -(-count // max(1, len(members)))
    by_path = {item.ref.path: item for group in members.values() for item in group}
    selection = [
        by_path[path]
        for group in members.values()
        for path in shuffle_by_hash([item.ref.path for item in group], spec.seed)[:each]
    ]
    start = time.perf_counter()
    table, rejected = make_tiles(source, selection, spec.size, scaled=spec.scaled_decoding, bit_depth=spec.bit_depth)
    seconds = time.perf_counter() - start
    if not table.num_rows:
        raise StageError(f"none of {rejected.num_rows} {split} tiles can be read: {rejected['reason'][0]}")
    encoded = tuple(pc.struct_field(table["image"], "bytes").to_pylist())
    size = sum(map(len, encoded)) / len(encoded)
    return TilesTrial(decode_images(table), table["label"].to_numpy(), encoded, seconds / len(selection), size)


def try_model(
    model: Model,
    recipe: Recipe,
    attacks: Sequence[TrialAttack],
    planted_attack: BoundedAttack | None,
    tiles: Mapping[Split, TilesTrial],
    labels: tuple[str, ...],
    device: torch.device,
    *,
    resources: Resources,
    attacked: int,
    say: Callable[[str], None],
) -> ModelTrial:
    """Train a backbone for a short time, attack it, and return the costs.

    Parameters
    ----------
    attacks
        Every attack of the experiment on this backbone, once per split that it runs on.
    planted_attack
        Attack that searches for planted examples; None if no diagnosis is planned.
    attacked
        Number of tiles to attack.
    say
        Receives the name of each trial.
    """
    torch.manual_seed(0)
    say(f"{model.name}: training")
    classifier = build_classifier(model, len(labels)).to(device)
    training = _train(classifier, recipe, tiles["train"], device)
    correct_tiles = {
        split: each.select(_find_correct(classifier, each, device, attacked)) for split, each in tiles.items()
    }
    test_tiles = tiles["test"]
    images, truth = correct_tiles["test"]
    prediction = _measure_seconds(lambda: predict(classifier, test_tiles.images, BATCH, device), device) / len(
        test_tiles.images
    )
    accuracy = float((predict(classifier, test_tiles.images, BATCH, device).argmax(1) == test_tiles.labels).mean())
    diagnosis = search = 0.0
    if planted_attack:
        say(f"{model.name}: diagnosis")
        diagnosis = _measure_seconds(lambda: probe(classifier, images, truth, BATCH, device), device) / len(images)
        search = _measure_seconds(
            lambda: run_binarization_test(classifier, images[:1], planted_attack, BATCH, device), device
        )
    card = ModelCard(model.name, labels, images.shape[1], *classifier.normalization, resize=model.resize)
    size = len(save_classifier(classifier, card))
    trial = ModelTrial(training, prediction, diagnosis, search, size, accuracy)
    _, height, width, channels = images.shape
    prepared = prepare(
        classifier,
        (channels, height, width),
        device=device,
        batch_size=resources.attack_batch,
    )
    results: dict[str, Adversarials] = {}
    for each in attacks:
        settings, split = each.spec.attack, each.spec.split
        say(f"{model.name}: {settings.name} on {split} tiles")
        earlier = [results[key] for key in each.earlier if key in results]
        start = time.perf_counter()
        adversarials = generate_over_radii(prepared, *correct_tiles[split], settings, each.spec.radii, earlier)
        seconds = time.perf_counter() - start
        results[each.key] = adversarials
        count = len(adversarials.images)
        trial.attacks[each.key] = AttackTrial(
            float(adversarials.forwards.mean()),
            float(adversarials.backwards.mean()),
            seconds / count,
            sum(len(encode_png(image)) for image in adversarials.images) / count,
        )
    return trial


def measure_worker_start() -> float:
    """Return the seconds until a new worker process has imported the modules of its tasks and of most backbones."""
    start = time.perf_counter()
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import raypipe.execution.attack, raypipe.stages.cluster_executor\n"
            "from raypipe.models.backbones.from_torchvision import list_torchvision\n"
            "list_torchvision()",
        ],
        check=True,
        env=os.environ,
    )
    return time.perf_counter() - start


def _train(classifier: Classifier, recipe: Recipe, tiles: TilesTrial, device: torch.device) -> float:
    short = recipe.model_copy(update={"epochs": max(2, min(recipe.epochs, EPOCHS))})
    batch = min(recipe.batch_size, max(2, len(tiles.labels) // 2))
    fit = Fit(classifier, short, -(-len(tiles.labels) // batch), device=device, seed=0)
    times = []
    dataset = TileDataset(tiles.encoded, tiles.labels.tolist())
    for record in fit.epochs(dataset, batch):
        times.append(record.seconds)
        if len(times) > 1 and (record.accuracy >= LEARNED or sum(times) > TRAINING_SECONDS):
            break
    fit.recalibrate(dataset, MOST_PER_EPOCH, lambda values: values)
    classifier.load_state_dict(fit.evaluated.state_dict())
    return float(np.median(times[1:])) / record.tiles


def _find_correct(classifier: Classifier, tiles: TilesTrial, device: torch.device, count: int) -> NDArray[np.int64]:
    """Return the positions of tiles that the network classifies correctly, or of any tiles if there are none."""
    predictions = predict(classifier, tiles.images, BATCH, device).argmax(1)
    correct = np.flatnonzero(predictions == tiles.labels)
    order = correct if len(correct) else np.arange(len(predictions))
    return np.random.default_rng(0).permutation(order)[:count]


def _measure_seconds(work: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def attack_key(spec: Any) -> str:
    """Return the settings that an attack's cost depends on, from its cell's `raypipe.plan.cells.AttackSpec`."""
    return str(spec.model_dump_json(include={"attack", "split", "radii"}))


def list_attacks(cells: Iterable[Cell]) -> dict[str, list[TrialAttack]]:
    """Return the attacks of cells by `find_backbone` their models, each attack once per split."""
    attacks_by_backbone: dict[str, dict[str, TrialAttack]] = {}
    for cell in cells:
        earlier = tuple(attack_key(attack.spec) for attack in cell.earlier_attacks)
        attacks_by_backbone.setdefault(find_backbone(cell), {})[attack_key(cell.spec)] = TrialAttack(cell.spec, earlier)
    return {backbone: list(attacks.values()) for backbone, attacks in attacks_by_backbone.items()}


def find_backbone(cell: Cell) -> str:
    """Return the values that a network's cost depends on: name and `resize` of the cell's backbone."""
    while cell.stage != "train":
        cell = cell.inputs["model"]
    return f"{cell.spec.model.name} {cell.spec.model.resize}"
