"""Corruptions of the slide: folds, bubbles, dust, deposits of stain and uneven light."""

import math

import torch
from torch import Tensor

from raypipe.corruptions.base import Draws, build_coordinates, draw_uniform
from raypipe.data.stains import DARKEST, combine_stains

SOFT = 0.03
"""Width of the soft edge of a shape, as a share of the tile's height."""
DEPOSIT = (1.6, 0.4, 0.0)
"""Amounts of hematoxylin, eosin and DAB in a deposit of stain."""


def fold(images: Tensor, width: float, draws: Draws) -> Tensor:
    """Return images with a fold: a straight band of the given width, in tile heights, of doubled optical density."""
    drawn = draw_uniform(draws, 2, images)[:, :, None, None]
    rows, columns = build_coordinates(images)
    angle = math.pi * drawn[:, 0]
    away = (rows - 0.5) * angle.cos() + (columns - 0.5) * angle.sin() - 0.5 * (drawn[:, 1] - 0.5)
    band = _soften(width / 2 - away.abs())[:, None]
    return images.clamp_min(DARKEST) ** (1 + band)


def trap_bubble(images: Tensor, radius: float, draws: Draws) -> Tensor:
    """Return images with an air bubble of a radius in tile heights: pale inside, with a dark ring."""
    away = _measure_distances(draw_uniform(draws, 2, images), images)
    inside = _soften(radius - away)[:, None]
    ring = _soften(SOFT - (radius - away).abs())[:, None]
    pale = images + inside * 0.5 * (1 - images)
    return pale * (1 - 0.7 * ring)


def drop_dust(images: Tensor, count: float, draws: Draws) -> Tensor:
    """Return images with the dark shadows of `count` grains of dust."""
    return images * (1 - 0.6 * _draw_spots(images, round(count), 0.02, 0.05, draws))


def deposit_stain(images: Tensor, count: float, draws: Draws) -> Tensor:
    """Return images with `count` deposits of stain."""
    spots = _draw_spots(images, round(count), 0.03, 0.08, draws)
    stain = combine_stains(torch.tensor(DEPOSIT).to(images)[None, :, None, None])
    return images * (1 - spots) + images * stain * spots


def light_unevenly(images: Tensor, amount: float, draws: Draws) -> Tensor:
    """Return images whose brightness falls by a share, `amount`, from one side to the other."""
    angle = 2 * math.pi * draw_uniform(draws, 1, images)[:, :, None]
    rows, columns = build_coordinates(images)
    along = 0.5 + ((rows - 0.5) * angle.sin() + (columns - 0.5) * angle.cos()) / math.sqrt(2)
    return images * (1 - amount * along)[:, None]


def _draw_spots(images: Tensor, count: int, least: float, most: float, draws: Draws) -> Tensor:
    """Return how much of each pixel is covered by randomly placed disks, (n, 1, h, w) in [0, 1]."""
    drawn = draw_uniform(draws, 3 * count, images).view(len(images), count, 3)
    covered = torch.zeros_like(images[:, 0])
    for place in drawn.unbind(1):
        radius = (least + (most - least) * place[:, 2])[:, None, None]
        covered = torch.maximum(covered, _soften(radius - _measure_distances(place[:, :2], images)))
    return covered[:, None]


def _measure_distances(places: Tensor, images: Tensor) -> Tensor:
    """Return the distance of each pixel from a place in [0, 1] of each image, (n, h, w) in tile heights."""
    rows, columns = build_coordinates(images)
    return ((rows - places[:, 0, None, None]) ** 2 + (columns - places[:, 1, None, None]) ** 2).sqrt()


def _soften(inside: Tensor) -> Tensor:
    """Return 1 well inside of a shape, 0 well outside, and values between across its edge."""
    return (0.5 + inside / SOFT).clamp(0, 1)
