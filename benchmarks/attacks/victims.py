"""The models under attack, which raypipe trains once, and the tiles that they classify correctly."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import nn

from raypipe.data.tiles import decode_images
from raypipe.evaluation.predict import predict
from raypipe.execution.ingest import ingest
from raypipe.experiment.load import validate_experiment
from raypipe.experiment.schema import Experiment
from raypipe.models.artifacts import load_model
from raypipe.plan.cells import Cell
from raypipe.plan.listing import Prepared, prepare
from raypipe.progress.stage import stage_progress
from raypipe.stages.cluster import connect
from raypipe.stages.cluster_executor import ClusterExecutor
from raypipe.stages.train import train
from raypipe.storage.store import Store

EPOCHS = {"resnet18": 12, "googlenet": 12, "shufflenet_v2_x1_0": 40}
"""Number of epochs by backbone. From scratch on a few hundred tiles, ShuffleNetV2 needs three times as many as the
others."""


@dataclass(frozen=True)
class Subject:
    """A model to attack, and the tiles to attack it on.

    Parameters
    ----------
    name
        Name of the model.
    model
        Model in evaluation mode, from float32 (n, channels, h, w) in [0, 1] to logits.
    images
        Tiles (n, h, w, channels), uint8, all classified correctly, in the order in which contestants get them.
    labels
        (n,) true classes.
    facts
        Facts of the model and its data for the record: accuracy, classes, sizes, and if the tissue is synthetic.
    """

    name: str
    model: nn.Module
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    facts: dict[str, Any]


def data_settings(data: str | None, groups: str | None, per_class: int, size: int) -> dict[str, Any]:
    """Return the data section of an experiment: LC25000, or synthetic tissue without a folder.

    Both have five classes. With fewer than four, the authors' AutoAttack has no loss.

    Parameters
    ----------
    data
        Folder that holds LC25000 as its author published it.
    groups
        CSV of source tiles; default: ``groups.csv`` in that folder.
    per_class
        Number of tiles per class; without a folder, the number drawn per class.
    size
        Height and width of a tile in pixels.
    """
    if data is None:
        return {"source": "synthetic", "sources_per_class": max(2, per_class // 5), "siblings": 5, "size": size}
    table = groups or str(Path(data).expanduser() / "groups.csv")
    return {"source": "lc25000", "path": data, "groups": table, "per_class": per_class}


def experiments(
    names: Sequence[str], data: dict[str, Any], size: int, store: str, epochs: int | None = None, workers: int = 1
) -> list[Experiment]:
    """Return one experiment for each model; they share their tiles.

    Parameters
    ----------
    names
        Names of backbones.
    data
        Data section, from `data_settings`.
    size
        Height and width of a tile in pixels.
    store
        Store for tiles and models.
    epochs
        Number of epochs of all models; default: `EPOCHS`.
    workers
        Number of workers of each training.
    """
    return [
        validate_experiment(
            {
                "name": "attack-benchmark",
                "storage": store,
                "data": data,
                "tiles": {"size": size, "shard_size": 64},
                "models": [name],
                "train": {"epochs": epochs or EPOCHS.get(name, max(EPOCHS.values()))},
                "attacks": ["deepfool"],
                "resources": {"train_workers": workers},
            }
        )
        for name in names
    ]


def subjects(chosen: Sequence[Experiment], tiles: int, seed: int, console: Console) -> list[Subject]:
    """Load the models of experiments, after training those that are missing in the store.

    Parameters
    ----------
    chosen
        Experiments, from `experiments`.
    tiles
        Largest number of tiles to attack.
    seed
        Seed of the choice of tiles.
    console
        Console for the progress of a training.

    Raises
    ------
    raypipe.base.errors.ConfigError
        If the data cannot be listed or split.
    raypipe.base.errors.StageError
        If a training fails.
    """
    prepared = [prepare(experiment) for experiment in chosen]
    if any(not cell.manifest(one.store) for one in prepared for cell in _needed(one)):
        log = Path(prepared[0].store.path("ray.log"))
        with connect(None, log):
            for one in prepared:
                _complete(one, console)
    return [_subject(one, tiles, seed) for one in prepared]


def _needed(prepared: Prepared) -> list[Cell]:
    return [*prepared.plan.stage("ingest"), *prepared.plan.stage("train")]


def _complete(prepared: Prepared, console: Console) -> None:
    """Run the ingest and train stages, and nothing else of the experiment."""
    store, resources = prepared.store, prepared.experiment.resources
    listing = prepared.listings[0]
    tiles, *models = _needed(prepared)
    if not tiles.manifest(store):
        with stage_progress(console, "ingest", len(listing.items), "files") as progress:
            ingest(tiles, listing.source, listing.items, ClusterExecutor(store, resources), progress)
    if missing := [cell for cell in models if not cell.manifest(store)]:
        epochs = sum(cell.spec.recipe.epochs for cell in missing)
        with stage_progress(console, f"train {missing[0].name}", epochs, "epochs") as progress:
            train(missing, store, resources, progress)


def _subject(prepared: Prepared, count: int, seed: int) -> Subject:
    store = prepared.store
    tiles, model = _needed(prepared)
    classifier, card = load_model(store, model.key)
    images, labels, sources = _test_tiles(store, tiles)
    predicted = predict(classifier, images, 64, torch.device("cpu")).argmax(1)
    right = predicted == labels
    order = np.random.default_rng(seed).permutation(len(labels))
    attacked = order[right[order]][:count]
    facts = {
        "accuracy": float(right.mean()),
        "test_tiles": len(labels),
        "train_tiles": sum((tiles.manifest(store) or {})["counts"]["train"].values()),
        "epochs": model.spec.recipe.epochs,
        "labels": list(card.labels),
        "size": card.size,
        "key": model.key,
        "synthetic": prepared.listings[0].source.synthetic,
        "attacked": [sources[index] for index in attacked],
    }
    return Subject(model.name, classifier.eval(), images[attacked], labels[attacked], facts)


def _test_tiles(store: Store, tiles: Cell) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    table = pa.concat_tables(store.iter_tables("tiles", tiles.key, "test"))
    return decode_images(table), table["label"].to_numpy().astype(np.int64), table["source_path"].to_pylist()
