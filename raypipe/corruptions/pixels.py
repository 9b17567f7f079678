"""Corruptions of stored tiles: 8-bit pixels in, 8-bit pixels out."""

import numpy as np
import torch
from numpy.typing import NDArray

from raypipe.attacks.engine.draws import make_generators
from raypipe.corruptions import CORRUPTIONS


def corrupt_pixels(
    images: NDArray[np.uint8], name: str, level: float, seed: int, device: torch.device
) -> NDArray[np.uint8]:
    """Return corrupted tiles (n, h, w, 3) in 8 bits, as a file would hold them.

    Parameters
    ----------
    images
        (n, h, w, 3) tiles.
    name, level
        Name in `raypipe.corruptions.CORRUPTIONS`, and level in the corruption's unit.
    seed
        Seed of the draws, which also depend on a tile's pixels.
    device
        Device of the computation.
    """
    clean = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(device).float().div_(255)
    with torch.no_grad():
        changed = CORRUPTIONS[name].apply(clean, level, make_generators(clean, f"corruption {seed}")).clamp(0, 1)
    pixels: NDArray[np.uint8] = changed.mul(255).round().byte().cpu().numpy().transpose(0, 2, 3, 1)
    return pixels
