"""The model under attack, which the first section trains on synthetic tissue, and its tiles."""

import math
import os
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.gpu.drawing import draw_tiles
from benchmarks.gpu.options import Options
from benchmarks.gpu.timing import timed
from raypipe.data.reading.png import encode_png
from raypipe.data.tissue import LABELS
from raypipe.evaluation.predict import predict
from raypipe.models.classifier import Classifier, Model, build_classifier
from raypipe.training.dataset import TileDataset
from raypipe.training.fit import Fit
from raypipe.training.recipe import Recipe

FILE = "victim.pt"
TEST_SHARE = 5
"""One of so many drawn tiles is a test tile."""
SPARE = 2
"""Number of test tiles to draw for each tile to attack, because misclassified tiles are not attacked."""


@dataclass(frozen=True)
class Victim:
    """A trained classifier with its tiles.

    Parameters
    ----------
    model
        Classifier in evaluation mode, on the device.
    train_images, train_labels
        Training tiles (n, h, w, 3), uint8, and their classes (n,).
    images, labels
        Test tiles that the model classifies correctly, (n, h, w, 3), uint8, and their classes (n,).
    """

    model: Classifier
    train_images: Tensor
    train_labels: Tensor
    images: Tensor
    labels: Tensor

    def floats(self, device: torch.device) -> Tensor:
        """Return the tiles to attack on a device, (n, 3, h, w), float32 in [0, 1]."""
        return self.images.to(device).permute(0, 3, 1, 2).contiguous().float() / 255

    def training_tiles(self, repeats: int = 1) -> TileDataset:
        """Return the training tiles, encoded, each `repeats` times."""
        return TileDataset([encode_png(tile) for tile in self.train_images.numpy()] * repeats,
                           self.train_labels.tolist() * repeats)  # fmt: skip


def build(options: Options) -> Classifier:
    """Return an untrained classifier on the device."""
    torch.manual_seed(0)
    return build_classifier(Model(name=options.sizes.backbone), len(LABELS)).to(options.device)


def loader_workers(options: Options) -> int:
    """Return the number of processes that decode tiles for a training: up to 8 for a GPU, otherwise none."""
    return min(8, os.cpu_count() or 1) if options.device.type == "cuda" else 0


def train_victim(options: Options) -> None:
    """Draw tiles, train the network, and store both for the other sections.

    Raises
    ------
    RuntimeError
        If the model classifies fewer test tiles correctly than slow attacks need.
    """
    sizes = options.sizes
    tests = max(math.ceil(sizes.drawn / TEST_SHARE), math.ceil(SPARE * sizes.tiles / len(LABELS)))
    train, train_labels = draw_tiles(0, sizes.drawn - sizes.drawn // TEST_SHARE, sizes.pixels)
    test, test_labels = draw_tiles(10_000, tests, sizes.pixels)
    model = build(options)
    recipe = Recipe(epochs=sizes.victim_epochs, batch_size=min(32, sizes.batch), learning_rate=2e-3)
    dataset = TileDataset([encode_png(tile) for tile in train], train_labels.tolist())
    fit = Fit(model, recipe, -(-len(dataset) // recipe.batch_size), device=options.device, seed=0)
    workers = loader_workers(options)
    records, seconds = timed(lambda: list(fit.epochs(dataset, recipe.batch_size, workers)), options.device)
    fit.recalibrate(dataset, len(dataset), lambda total: total)
    right = predict(fit.evaluated, test, sizes.batch, options.device).argmax(1) == test_labels
    options.note(
        backbone=sizes.backbone, pixels=sizes.pixels, training_tiles=len(dataset), test_tiles=len(test),
        epochs=recipe.epochs, seconds=seconds, loss=records[-1].loss, accuracy=float(right.mean()),
    )  # fmt: skip
    if right.sum() < sizes.few:
        raise RuntimeError(f"{right.sum()} of {len(test)} test tiles are classified correctly: expected {sizes.few}")
    chosen = right.nonzero()[0][: sizes.tiles]
    stored = {"train": train, "train_labels": train_labels, "test": test[chosen], "test_labels": test_labels[chosen]}
    weights = {name: value.cpu() for name, value in fit.evaluated.state_dict().items()}
    tensors = {name: torch.from_numpy(value) for name, value in stored.items()}
    torch.save({"model": weights, **tensors}, options.folder / FILE)


def load_victim(options: Options) -> Victim:
    """Return the stored classifier and its tiles.

    Raises
    ------
    FileNotFoundError
        If the section that trains it has failed.
    """
    path = options.folder / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the section `victim` must run first")
    stored = torch.load(path, map_location="cpu", weights_only=True)
    model = build(options)
    model.load_state_dict(stored["model"])
    return Victim(model.eval(), *(stored[name] for name in ("train", "train_labels", "test", "test_labels")))
