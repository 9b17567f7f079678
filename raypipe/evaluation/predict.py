"""Logits of tiles. The predictions behind every figure are made here and nowhere else."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from raypipe.models.precision import full_precision


@torch.no_grad()
@full_precision()
def predict(model: nn.Module, images: NDArray[np.uint8], batch_size: int, device: torch.device) -> NDArray[np.float32]:
    """Return the logits of tiles, computed in full float32 precision in evaluation mode.

    Parameters
    ----------
    model
        Model that maps images (n, 3, h, w) in [0, 1] to logits; on `device`.
    images
        (n, h, w, 3) uint8 tiles.
    batch_size
        Number of tiles per forward pass.

    Returns
    -------
    ndarray
        (n, classes) logits.
    """
    model.eval()
    logits = [
        model(torch.from_numpy(np.ascontiguousarray(chunk.transpose(0, 3, 1, 2))).to(device).float().div_(255)).cpu()
        for chunk in np.split(images, range(batch_size, len(images), batch_size))
    ]
    return torch.cat(logits).numpy()
