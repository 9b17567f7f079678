"""The interface of a corruption: a change of tiles that a laboratory, a scanner or a file format makes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SEVERITIES = (1, 2, 3, 4, 5)
"""Severities of every corruption, from hardly visible to as strong as a reader would still accept."""

Draws = Sequence[torch.Generator]
"""Random generators on the CPU, one for each tile, so that a corruption depends on the tile and the seed alone."""


@dataclass(frozen=True)
class Corruption:
    """A corruption of tiles.

    Parameters
    ----------
    title
        Name for people.
    apply
        Function from images (n, 3, h, w), float32 in [0, 1], a level and a generator for each image to the corrupted
        images, in [0, 1] up to rounding.
    levels
        Level of each severity, in the unit that `unit` names.
    unit
        Meaning of the level.
    """

    title: str
    apply: Callable[[Tensor, float, Draws], Tensor]
    levels: tuple[float, float, float, float, float]
    unit: str

    def corrupt(self, images: Tensor, severity: int, draws: Draws) -> Tensor:
        """Return images (n, 3, h, w) in [0, 1] with the corruption of a severity from 1 to 5."""
        return self.apply(images, self.levels[severity - 1], draws).clamp(0, 1)


def draw_uniform(draws: Draws, count: int, like: Tensor) -> Tensor:
    """Return (n, count) numbers in [0, 1), a row from each generator, on the device of a tensor."""
    return torch.stack([torch.rand(count, generator=draw) for draw in draws]).to(like)


def draw_normal(draws: Draws, like: Tensor) -> Tensor:
    """Return standard normal noise in the shape of images (n, ...), each from its own generator."""
    return torch.stack([torch.randn(like.shape[1:], generator=draw) for draw in draws]).to(like)


def build_coordinates(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows and the columns of the pixels of images, (h, w) each, from 0 to 1 along each side."""
    height, width = like.shape[-2:]
    rows, columns = ((torch.arange(size).to(like) + 0.5) / size for size in (height, width))
    return rows[:, None].expand(height, width), columns[None].expand(height, width)
