"""Figures of a model on tiles that its fit does not use."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.training.batch_statistics import evaluation_mode
from raypipe.training.dataset import TileDataset, iterate_batches

BATCH = 128


@torch.no_grad()
def validate(model: nn.Module, dataset: TileDataset, device: torch.device) -> Tensor:
    """Return the sum of the cross-entropies, the number of correct predictions and the number of tiles, (3,).

    During the call the model is in evaluation mode, except for its input transform. Where the transform adds noise, a
    prediction uses one draw, as in training. The finished model averages over many draws.

    Parameters
    ----------
    model
        The classifier itself, not wrapped for DDP, on `device`.
    dataset
        Tiles to validate on; it may be empty.
    """
    sums = torch.zeros(3, dtype=torch.float64)
    with evaluation_mode(model):
        for images, labels in iterate_batches(dataset, range(len(dataset)), BATCH, device):
            logits = model(images).float()
            loss = float(F.cross_entropy(logits, labels, reduction="sum"))
            right = int((logits.argmax(1) == labels).sum())
            sums += torch.tensor([loss, right, len(labels)], dtype=torch.float64)
    return sums
