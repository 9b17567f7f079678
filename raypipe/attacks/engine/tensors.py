"""The few numerics that attacks share. All work tile by tile: the first dimension is the tile."""

import torch
from torch import Tensor

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
