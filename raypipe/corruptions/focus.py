"""Corruptions of the optics: defocus, motion, and too few pixels."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from raypipe.corruptions.base import Draws, draw_uniform

SAMPLES = 41
"""Number of samples along a line, or along each side of a disk, from which a kernel is made. It is odd, so that the
center is among them."""


def defocus(images: Tensor, radius: float, draws: Draws) -> Tensor:  # noqa: ARG001  There is nothing to draw.
    """Return images blurred by a disk, as by a lens out of focus (Hendrycks and Dietterich, 2019, arXiv:1903.12261).

    Parameters
    ----------
    images
        (n, 3, h, w) in [0, 1].
    radius
        Radius of the disk as a share of the tile's height.
    draws
        Not used.
    """
    reach = radius * images.shape[-2]
    axis = torch.linspace(-reach, reach, SAMPLES, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    inside = points[points.square().sum(1) <= reach**2]
    return filter_images(images, _build_kernels(inside[None], reach).expand(len(images), -1, -1))


def blur_motion(images: Tensor, length: float, draws: Draws) -> Tensor:
    """Return images blurred along a straight line of a random direction, as by a moving stage.

    Parameters
    ----------
    images
        (n, 3, h, w) in [0, 1].
    length
        Length of the line as a share of the tile's height.
    draws
        Generators; each draws a direction.
    """
    reach = length * images.shape[-2] / 2
    angles = math.pi * draw_uniform(draws, 1, images).double().cpu()
    steps = torch.linspace(-reach, reach, SAMPLES, dtype=torch.float64)
    return filter_images(images, _build_kernels(torch.stack([angles.sin() * steps, angles.cos() * steps], -1), reach))


def pixelate(images: Tensor, share: float, draws: Draws) -> Tensor:  # noqa: ARG001  There is nothing to draw.
    """Return images reduced to a share of their pixels per side and enlarged again without interpolation.

    Parameters
    ----------
    images
        (n, 3, h, w) in [0, 1].
    share
        Remaining share of the pixels of each side, in (0, 1].
    draws
        Not used.
    """
    height, width = (max(1, round(share * size)) for size in images.shape[-2:])
    small = F.interpolate(images, (height, width), mode="area")
    return F.interpolate(small, images.shape[-2:], mode="nearest-exact")


def filter_images(images: Tensor, kernels: Tensor) -> Tensor:
    """Return images (n, 3, h, w), each filtered by its own kernel (n, k, k) of odd size, with mirrored edges."""
    count, channels = images.shape[:2]
    half = kernels.shape[-1] // 2
    # Reflection cannot reach farther than the tile; replication continues from there.
    inner = min(half, min(images.shape[-2:]) - 1)
    padded = F.pad(images, (inner,) * 4, mode="reflect")
    if half > inner:
        padded = F.pad(padded, (half - inner,) * 4, mode="replicate")
    weights = kernels.to(images).repeat_interleave(channels, 0)[:, None]
    filtered = F.conv2d(padded.reshape(1, count * channels, *padded.shape[-2:]), weights, groups=count * channels)
    return filtered.reshape(images.shape)


def _build_kernels(points: Tensor, reach: float) -> Tensor:
    """Return kernels (n, k, k) that spread a pixel over points (n, count, 2), rows and columns in pixels.

    Each point is shared by the four pixels around it, so that shifts of less than a pixel blur too.
    """
    half = max(1, math.ceil(reach))
    near = (1 - (points[..., None] - torch.arange(-half, half + 1)).abs()).clamp_min(0)  # (n, count, 2, k)
    kernels = torch.einsum("nsi,nsj->nij", near[:, :, 0], near[:, :, 1])
    return kernels / kernels.sum((1, 2), keepdim=True)
