"""Random changes of training tiles, in batches on the device, drawn from PyTorch's global generator on the CPU.

Every epoch seeds the generator, so that a resumed fit sees the tiles that an uninterrupted fit would see.
"""

import torch
from torch import Tensor

from raypipe.training.recipe import Recipe

STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11), (0.27, 0.57, 0.78))
"""Optical density of hematoxylin, eosin and DAB (rows) in red, green and blue (columns). Source: Ruifrok and Johnston,
2001, Analytical and Quantitative Cytology and Histology 23(4), 291-299."""
DARKEST = 1 / 255
"""Smallest pixel value for optical densities. Darker values count as this one, because the density of black is
infinite."""


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


def separate_stains(images: Tensor) -> Tensor:
    """Return the amounts of the three stains, (n, 3, h, w), in images (n, 3, h, w), by color deconvolution.

    An amount of 1 has the optical density (natural logarithm) that `STAINS` gives.
    """
    unmix = torch.linalg.inv(torch.tensor(STAINS, dtype=torch.float64)).to(images)
    densities = -images.clamp_min(DARKEST).log()
    return torch.einsum("ncij,cs->nsij", densities, unmix)


def combine_stains(amounts: Tensor) -> Tensor:
    """Return the images, (n, 3, h, w) in [0, 1], of amounts of stains; this inverts `separate_stains`."""
    densities = torch.einsum("nsij,sc->ncij", amounts, torch.tensor(STAINS).to(amounts))
    return (-densities).exp().clamp(0, 1)


def jitter_stains(images: Tensor, factors: Tensor, shifts: Tensor) -> Tensor:
    """Return images with other amounts of the three stains (Tellez et al., 2018, arXiv:1808.05896, section III-C).

    Parameters
    ----------
    images
        (n, 3, h, w) in [0, 1].
    factors, shifts
        (n, 3) factors that multiply each stain's amount, and shifts that are then added.
    """
    amounts = separate_stains(images)
    return combine_stains(amounts * factors[:, :, None, None] + shifts[:, :, None, None])


def _brighten(images: Tensor, brightness: float) -> Tensor:
    if brightness == 0:
        return images
    factor = 1 + brightness * (2 * torch.rand(len(images), 1, 1, 1) - 1)
    return (images * factor.to(images.device)).clamp_(0, 1)
