"""Random changes of training tiles, in batches on the device, drawn from PyTorch's global generator on the CPU.

Every epoch seeds the generator, so that a resumed fit sees the tiles that an uninterrupted fit would see.
"""

import torch
from torch import Tensor

from raypipe.data.stains import jitter_stains
from raypipe.training.recipe import Recipe


def augment(images: Tensor, recipe: Recipe) -> Tensor:
    """Return the randomly changed images that a training step sees.

    Parameters
    ----------
    images
        (n, 3, h, w), float32 in [0, 1]; h must equal w if the recipe turns tiles.
    recipe
        Recipe with the kinds of changes and their sizes.
    """
    images = _brighten(images, recipe.brightness)
    if "flips_and_turns" in recipe.augment:
        images = flip_and_turn(images, torch.randint(8, (len(images),)))
    if "hed_jitter" in recipe.augment:
        factors, shifts = (recipe.hed_strength * (2 * torch.rand(2, len(images), 3) - 1)).to(images.device)
        images = jitter_stains(images, 1 + factors, shifts)
    return images


def flip_and_turn(images: Tensor, numbers: Tensor) -> Tensor:
    """Return each image in one of the eight orientations that flips and quarter turns give.

    Parameters
    ----------
    images
        (n, channels, h, h) images.
    numbers
        (n,) integers in [0, 8): bit 0 transposes, bit 1 flips left to right, bit 2 flips top to bottom.
    """
    chosen = numbers.to(images.device)[:, None, None, None]
    images = torch.where((chosen & 1).bool(), images.transpose(2, 3), images)
    images = torch.where((chosen & 2).bool(), images.flip(3), images)
    return torch.where((chosen & 4).bool(), images.flip(2), images)


def _brighten(images: Tensor, brightness: float) -> Tensor:
    if brightness == 0:
        return images
    factor = 1 + brightness * (2 * torch.rand(len(images), 1, 1, 1) - 1)
    return (images * factor.to(images.device)).clamp_(0, 1)
