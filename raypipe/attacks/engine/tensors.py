"""Numerical functions that attacks share. The first dimension of every tensor is the tile."""

import torch
from torch import Tensor

TIE = 1e-4
"""Share of the logits' range within which two classes count as equal."""
TINY = 1e-12
"""Smallest divisor, which keeps a division by the length of a vanishing gradient finite."""


def per_tile(values: Tensor, images: Tensor) -> Tensor:
    """Reshape (n,) values so that they multiply (n, ...) images."""
    return values.view(-1, *[1] * (images.ndim - 1))


def measure_lengths(images: Tensor) -> Tensor:
    """Return the Euclidean length of each tile, (n,)."""
    length: Tensor = torch.linalg.vector_norm(images.flatten(1), dim=1)
    return length


def compute_margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the true class's logit minus the largest other one, (n,); negative where the tile is misclassified."""
    own = labels[:, None]
    return (logits.gather(1, own) - logits.scatter(1, own, -torch.inf).amax(1, keepdim=True))[:, 0]


def clear(leads: Tensor, logits: Tensor) -> Tensor:
    """Return booleans, True where leads in logits are positive by more than float noise between batch sizes."""
    return leads > TIE * (logits.amax(1) - logits.amin(1))
