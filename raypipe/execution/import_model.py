"""A finished model in a plan: the cell that brings it into a store."""

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raypipe.attacks.engine.victim import freeze
from raypipe.execution.adapt_network import Shape, find_device
from raypipe.models.checkpoint import save_classifier
from raypipe.models.classifier import Classifier
from raypipe.models.finished_model import FinishedModel
from raypipe.models.model_file import MODEL_FILE
from raypipe.plan.cells import Cell, ImportSpec
from raypipe.storage.costs import FREE
from raypipe.storage.store import Store

PROBES = 4
SAME = 1e-3
"""Largest difference of a model's logits between devices and batch sizes, as a share of their range."""


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
    logits = _compute_logits(model.network, _draw_probes(cell.spec.shape)).cpu().numpy()
    if (manifest := cell.manifest(store)) is None:
        if model.card is not None and isinstance(model.network, Classifier):
            checkpoint = save_classifier(model.network, model.card)
            store.write_bytes(f"{store.artifact(cell.kind, cell.key)}/{MODEL_FILE}", checkpoint)
        cell.publish(store, form=model.form, probe_logits=logits.tolist(), cost=FREE.facts())
        return
    stored = np.array(manifest["probe_logits"], dtype=np.float32)
    if not np.allclose(logits, stored, rtol=0, atol=SAME * max(1.0, float(np.ptp(stored))), equal_nan=True):
        raise FileExistsError(
            f"{store.root} holds the results of another {model.name!r} with the same state, whose logits differ: give "
            "the name of a new folder"
        )


def _compute_logits(network: nn.Module, tiles: Tensor) -> Any:
    with freeze(network), torch.no_grad():
        return network(tiles.to(find_device(network)))


def _draw_probes(shape: Shape) -> Tensor:
    return torch.rand(PROBES, *shape, generator=torch.Generator().manual_seed(0))
