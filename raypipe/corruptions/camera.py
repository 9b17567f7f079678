"""Corruptions of the camera and of its files: noise and JPEG."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from raypipe.corruptions.base import Draws, draw_normal


def add_noise(images: Tensor, deviation: float, draws: Draws) -> Tensor:
    """Return images with Gaussian noise of a standard deviation, on the scale of pixels in [0, 1]."""
    return images + deviation * draw_normal(draws, images)


def add_shot_noise(images: Tensor, photons: float, draws: Draws) -> Tensor:
    """Return images with the noise of counting photons (Hendrycks and Dietterich, 2019, arXiv:1903.12261).

    Parameters
    ----------
    images
        (n, 3, h, w) in [0, 1].
    photons
        Mean number of photons of a white pixel and channel.
    draws
        Generators; each draws the counts of its tile.
    """
    counts = [torch.poisson(photons * image.cpu(), generator=draw) for image, draw in zip(images, draws, strict=True)]
    return torch.stack(counts).to(images) / photons


def compress(images: Tensor, quality: float, draws: Draws) -> Tensor:  # noqa: ARG001  There is nothing to draw.
    """Return images after JPEG compression of a quality from 1 to 95, with halved color resolution."""
    pixels = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    stored = []
    for tile in pixels:
        file = io.BytesIO()
        Image.fromarray(tile).save(file, "JPEG", quality=round(quality))
        stored.append(np.asarray(Image.open(file)))
    return torch.from_numpy(np.stack(stored)).to(images.device).permute(0, 3, 1, 2).to(images.dtype) / 255
