"""Corruptions of colors: brightness, contrast, saturation, hue, stains and the scanner's color profile."""

import torch
from torch import Tensor

from raypipe.corruptions.base import Draws, draw_uniform
from raypipe.data.stains import jitter_stains


def change_brightness(images: Tensor, amount: float, draws: Draws) -> Tensor:
    """Return images with each value multiplied by 1 + `amount` or 1 - `amount`."""
    return images * (1 + amount * _draw_signs(draws, images))


def change_contrast(images: Tensor, amount: float, draws: Draws) -> Tensor:
    """Return images whose distance from their mean gray level is multiplied by 1 + `amount` or 1 - `amount`."""
    gray = _to_gray(images).mean((1, 2, 3), keepdim=True)
    return gray + (images - gray) * (1 + amount * _draw_signs(draws, images))


def change_saturation(images: Tensor, amount: float, draws: Draws) -> Tensor:
    """Return images whose distance from their gray version is multiplied by 1 + `amount` or 1 - `amount`."""
    gray = _to_gray(images)
    return gray + (images - gray) * (1 + amount * _draw_signs(draws, images))


def shift_hue(images: Tensor, amount: float, draws: Draws) -> Tensor:
    """Return images whose hue is shifted by `amount` of the color circle, in either direction."""
    from torchvision.transforms.v2.functional import adjust_hue  # noqa: PLC0415  slow

    signs = _draw_signs(draws, images).flatten().tolist()
    shifted = [adjust_hue(image, amount * sign) for image, sign in zip(images, signs, strict=True)]
    return torch.stack(shifted)


def vary_stain(images: Tensor, amount: float, draws: Draws) -> Tensor:
    """Return images with more or less of each stain, as another laboratory would stain them.

    The amounts of hematoxylin and eosin are each multiplied by a factor in [1 - amount, 1 + amount]. It differs from 1
    by at least amount / 2 (after Tellez et al., 2018, arXiv:1808.05896).
    """
    drawn = 2 * draw_uniform(draws, 3, images) - 1
    factors = 1 + amount * (drawn.sign() + drawn) / 2
    factors[:, 2] = 1  # DAB is no stain of these tiles
    return jitter_stains(images, factors, torch.zeros_like(factors))


def change_scanner(images: Tensor, amount: float, draws: Draws) -> Tensor:
    """Return images in the colors of another scanner: a mixing of the channels, and an exponent for each.

    Parameters
    ----------
    images
        (n, 3, h, w) in [0, 1].
    amount
        Share of each channel that the two others contribute, and largest change of the exponents.
    draws
        Generators; each draws a scanner.
    """
    drawn = 2 * draw_uniform(draws, 9, images) - 1
    mixing = amount * drawn[:, :6]
    matrix = torch.eye(3).to(images).repeat(len(images), 1, 1)
    rows, columns = zip(*((row, column) for row in range(3) for column in range(3) if row != column), strict=True)
    matrix[:, list(rows), list(columns)] = mixing
    matrix = matrix / matrix.sum(2, keepdim=True)  # white stays white
    mixed = torch.einsum("nij,njhw->nihw", matrix, images).clamp(0, 1)
    exponents = (1 + amount * drawn[:, 6:])[:, :, None, None]
    return mixed.clamp_min(1e-4) ** exponents


def _draw_signs(draws: Draws, images: Tensor) -> Tensor:
    """Return 1 or -1 for each image, (n, 1, 1, 1)."""
    return torch.where(draw_uniform(draws, 1, images) < 0.5, -1.0, 1.0)[:, :, None, None].to(images)


def _to_gray(images: Tensor) -> Tensor:
    """Return the gray versions of images, (n, 1, h, w)."""
    from torchvision.transforms.v2.functional import rgb_to_grayscale  # noqa: PLC0415  slow

    gray: Tensor = rgb_to_grayscale(images)
    return gray
