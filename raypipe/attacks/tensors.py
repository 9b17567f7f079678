"""The few numerics that attacks share. All work tile by tile: the first dimension is the tile."""

from dataclasses import fields, replace
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Record = TypeVar("Record", bound=DataclassInstance)
else:
    Record = TypeVar("Record")

TIE = 1e-4
"""Share of the logits' range within which two classes are as good as equal."""
TINY = 1e-12
"""Keeps a division by the length of a vanishing gradient finite."""


def per_tile(values: Tensor, images: Tensor) -> Tensor:
    """Shape (n,) values so that they multiply (n, ...) images."""
    return values.view(-1, *[1] * (images.ndim - 1))


def lengths(images: Tensor) -> Tensor:
    """Euclidean length of each tile, (n,)."""
    length: Tensor = torch.linalg.vector_norm(images.flatten(1), dim=1)
    return length


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """How far the true class leads: its logit less the largest other one, (n,). Negative: misclassified."""
    own = labels[:, None]
    return (logits.gather(1, own) - logits.scatter(1, own, -torch.inf).amax(1, keepdim=True))[:, 0]


def clear(leads: Tensor, logits: Tensor) -> Tensor:
    """Whether leads, differences of logits, are positive by more than what float noise between batch sizes can undo."""
    return leads > TIE * (logits.amax(1) - logits.amin(1))


def keep(record: Record, chosen: Tensor) -> Record:
    """Drop tiles from a dataclass whose fields are all tensors with one entry a tile.

    Parameters
    ----------
    record
        The state of the tiles that an attack still works on.
    chosen
        (n,) booleans: which tiles stay.
    """
    if bool(chosen.all()):
        return record
    return replace(record, **{field.name: getattr(record, field.name)[chosen] for field in fields(record)})
