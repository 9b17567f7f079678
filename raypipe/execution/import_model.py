"""A finished model in a plan: the check that it fits the tiles, and the cell that brings it into a store."""

import re
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raypipe.attacks.engine.victim import freeze
from raypipe.models.checkpoint import FILE_NAME, save_classifier
from raypipe.models.classifier import Classifier
from raypipe.models.finished_model import FinishedModel
from raypipe.plan.cells import Cell, ImportSpec
from raypipe.storage.costs import FREE
from raypipe.storage.store import Store

Shape = tuple[int, int, int]
"""Shape of a tile: channels, height, width."""
PROBES = 4
SAME = 1e-3
"""Largest difference of a model's logits between devices and batch sizes, as a share of their range."""


def find_device(network: nn.Module) -> torch.device:
    """Return the device of a network's parameters."""
    return next(chain(network.parameters(), network.buffers()), torch.empty(0)).device


def count_logits(network: nn.Module, shape: Shape) -> int:
    """Return the number of logits that a network gives for a tile.

    Raises
    ------
    ValueError
        If the network takes no such tile, or gives no logits for it.
    """
    try:
        logits = _logits(network, torch.zeros(1, *shape))
    except Exception as error:  # the network is foreign code
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"the model does not take a float32 tile {(1, *shape)} ({type(error).__name__}: {reason}); give tiles of "
            "the size that it was made for (--size)"
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 1 or logits.shape[1] < 2:
        description = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"the model gives {description} for a tile, expected logits (1, classes), two classes or more")
    return int(logits.shape[1])


def require_classes(network: nn.Module, shape: Shape, labels: tuple[str, ...]) -> None:
    """Require that a network gives one logit for each class.

    Raises
    ------
    ValueError
        If the network takes no such tiles, or its number of logits differs from the number of classes.
    """
    logits = count_logits(network, shape)
    if logits != len(labels):
        raise ValueError(
            f"the model gives {logits} logits, but there are {len(labels)} classes, {', '.join(labels)}: give the "
            "names of all its classes, in the order of its logits (--labels)"
        )


def describe_model(model: FinishedModel, shape: Shape) -> ImportSpec:
    """Return the settings that determine an imported model."""
    return ImportSpec(content=model.content, form=model.form, shape=shape)


def name_run(model: str) -> str:
    """Return a valid run name for a model's name."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", model).lstrip("_.-") or "model"


def import_model(cell: Cell, model: FinishedModel, store: Store) -> None:
    """Publish a model, unless an earlier call has published it.

    The checkpoint of a classifier of raypipe is stored, so that other processes can load it. Other modules stay in
    memory, and the artifact only describes them.

    Raises
    ------
    FileExistsError
        If the store has a model of the same content with other logits: the content of a module covers its state, but
        not its code.
    """
    logits = _logits(model.network, _probes(cell.spec.shape)).cpu().numpy()
    if (manifest := cell.manifest(store)) is None:
        if model.card is not None and isinstance(model.network, Classifier):
            checkpoint = save_classifier(model.network, model.card)
            store.write_bytes(f"{store.artifact(cell.kind, cell.key)}/{FILE_NAME}", checkpoint)
        cell.publish(store, form=model.form, probe_logits=logits.tolist(), cost=FREE.facts())
        return
    stored = np.array(manifest["probe_logits"], dtype=np.float32)
    if not np.allclose(logits, stored, rtol=0, atol=SAME * max(1.0, float(np.ptp(stored))), equal_nan=True):
        raise FileExistsError(
            f"{store.root} holds the results of another {model.name!r} with the same state, whose logits differ: give "
            "the name of a new folder"
        )


def _logits(network: nn.Module, tiles: Tensor) -> Any:
    with freeze(network), torch.no_grad():
        return network(tiles.to(find_device(network)))


def _probes(shape: Shape) -> Tensor:
    return torch.rand(PROBES, *shape, generator=torch.Generator().manual_seed(0))
