"""The proposals of the Square Attack (Andriushchenko et al., 2020, arXiv:1912.00049): square windows of a perturbation.

In linf, every value of a perturbation lies at the edge of the ball. A proposal sets a window to another constant for
each channel. In l2, a perturbation always has the full length, and a window gets the length of another window.
"""

import math

import torch
from torch import Tensor

from raypipe.attacks.engine.tensors import TINY, measure_lengths, per_tile
from raypipe.base.norms import Norm

HALVED_AT = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Numbers of queries, of 10,000, after which the share of the pixels in a window is halved."""
FIRST_WINDOWS = 5
"""Number of windows along a side of the image in the first perturbation in l2."""


class Windows:
    """Proposals for images of one size within one ball.

    Parameters
    ----------
    images
        (n, channels, h, w) images. Only their shape and device matter.
    eps, norm
        Radius and norm of the ball.
    queries
        Number of queries of a run; the sides of the windows shrink during it.
    share
        Share of the pixels in the first windows.

    Attributes
    ----------
    first_draws, draws
        Numbers of uniform draws from [0, 1) that the first perturbation of a tile and each proposal need.
    """

    def __init__(self, images: Tensor, eps: float, norm: Norm, queries: int, share: float) -> None:
        _, channels, height, width = images.shape
        self.eps, self.norm = eps, norm
        shortest = min(height, width)
        self._tile = max(1, shortest // FIRST_WINDOWS)
        self._tiles = height // self._tile, width // self._tile
        if norm == "linf":
            self.first_draws, self.draws = channels * width, 2 + channels
        else:
            self.first_draws, self.draws = math.prod(self._tiles) * (channels + 1), 5 + channels
        sides = [min(side, shortest) for side in list_window_sides(queries, share, height * width, norm)]
        distinct = sorted(set(sides))
        self._sides = torch.tensor(distinct, device=images.device)
        self._index = torch.tensor([distinct.index(side) for side in sides], device=images.device)
        corners = images.new_zeros(len(distinct), 2, height, width)
        for corner, side in zip(corners, distinct, strict=True):
            corner[0, :side, :side] = build_pattern(side)
            corner[1, :side, :side] = build_pattern(side).T
        self._patterns = corners

    def first(self, clean: Tensor, draws: Tensor) -> Tensor:
        """Return the first points of a run: vertical stripes in linf, a grid of windows in l2.

        Parameters
        ----------
        clean
            (n, channels, h, w) in [0, 1].
        draws
            (n, first_draws) uniform draws in [0, 1).
        """
        count, channels, height, width = clean.shape
        if self.norm == "linf":
            return (clean + self.eps * _draw_signs(draws).view(count, channels, 1, width)).clamp(0, 1)
        side, (rows, columns) = self._tile, self._tiles
        drawn = draws.view(count, channels + 1, rows, columns).repeat_interleave(side, 2).repeat_interleave(side, 3)
        upright = build_pattern(side).to(clean.device)
        flat, tilted = upright.repeat(rows, columns), upright.T.repeat(rows, columns)
        perturbation = torch.zeros_like(clean)
        top, left = (height - rows * side) // 2, (width - columns * side) // 2
        grid = _draw_signs(drawn[:, 1:]) * torch.where(drawn[:, :1] < 0.5, flat, tilted)
        perturbation[:, :, top : top + rows * side, left : left + columns * side] = grid
        return self._on_the_sphere(clean, perturbation)

    def propose(self, points: Tensor, clean: Tensor, proposal: Tensor, draws: Tensor) -> Tensor:
        """Return points with one changed window each.

        Parameters
        ----------
        points, clean
            (n, channels, h, w) in [0, 1].
        proposal
            (n,) numbers of earlier proposals.
        draws
            (n, draws) uniform draws in [0, 1).
        """
        index = self._index[proposal]
        if self.norm == "linf":
            return self._draw_other_constant(points, clean, self._sides[index], draws)
        return self._draw_other_length(points, clean, index, draws)

    def _draw_other_constant(self, points: Tensor, clean: Tensor, sides: Tensor, draws: Tensor) -> Tensor:
        inside, _, _ = _draw_window(points, sides, draws[:, :2])
        signs = _draw_signs(draws[:, 2:])[:, :, None, None]
        found = torch.where(inside, (clean + self.eps * signs).clamp(0, 1), points)
        # As in the authors' code, no query is spent on an unchanged window. The authors draw again instead.
        same = (found == points).flatten(1).all(1)
        signs = torch.where(per_tile(same, signs), -signs, signs)
        return torch.where(inside, (clean + self.eps * signs).clamp(0, 1), points)

    def _draw_other_length(self, points: Tensor, clean: Tensor, index: Tensor, draws: Tensor) -> Tensor:
        sides, perturbation = self._sides[index], points - clean
        inside, top, left = _draw_window(points, sides, draws[:, :2])
        other, _, _ = _draw_window(points, sides, draws[:, 2:4])
        shape = self._patterns[index, (draws[:, 4] < 0.5).long()]
        height, width = shape.shape[1:]
        down = (torch.arange(height, device=top.device) - top[:, None]) % height
        across = (torch.arange(width, device=top.device) - left[:, None]) % width
        shape = shape[torch.arange(len(top), device=top.device)[:, None, None], down[:, :, None], across[:, None]]
        old = perturbation * inside
        new = _draw_signs(draws[:, 5:])[:, :, None, None] * shape[:, None] + old / _measure_lengths(old).clamp_min(TINY)
        unused = (self.eps**2 - measure_lengths(perturbation) ** 2).clamp_min(0) / points.shape[1]
        length = (per_tile(unused, points) + _measure_lengths(perturbation * (inside | other)) ** 2).sqrt()
        changed = torch.where(inside, new / _measure_lengths(new).clamp_min(TINY) * length, perturbation * ~other)
        return self._on_the_sphere(clean, changed)

    def _on_the_sphere(self, clean: Tensor, perturbation: Tensor) -> Tensor:
        scale = self.eps / measure_lengths(perturbation).clamp_min(TINY)
        return (clean + per_tile(scale, perturbation) * perturbation).clamp(0, 1)


def list_window_sides(queries: int, share: float, pixels: int, norm: Norm) -> list[int]:
    """Return the side of the window of each proposal, in pixels.

    Parameters
    ----------
    queries
        Number of proposals.
    share
        Share of the pixels in the first windows.
    pixels
        Number of pixels of an image.
    norm
        Norm of the ball. In l2, sides are odd and at least 3.
    """
    halvings = [sum(10_000 * query // queries > limit for limit in HALVED_AT) for query in range(queries)]
    sides = [max(1, round(math.sqrt(share * pixels / 2**halved))) for halved in halvings]
    return sides if norm == "linf" else [max(3, side) // 2 * 2 + 1 for side in sides]


def build_pattern(side: int) -> Tensor:
    """Return the content of windows in l2, (side, side) of length 1: two bumps of opposite signs above each other.

    Parameters
    ----------
    side
        Side of the window in pixels, at least 1.
    """
    halves = [_bump(side // 2, side), -_bump(side - side // 2, side)]
    both: Tensor = torch.cat([half / torch.linalg.vector_norm(half).clamp_min(TINY) for half in halves])
    return both / measure_lengths(both[None])


def _bump(height: int, width: int) -> Tensor:
    """Return the sum of rectangles around the middle; the k-th rectangle has the weight 1/k^2."""
    down = (torch.arange(height) - height // 2).abs()
    across = (torch.arange(width) - width // 2).abs()
    ring = torch.maximum(down[:, None], across)
    weights = 1 / torch.arange(1, max(height, width) // 2 + 2) ** 2
    piled = weights.flip(0).cumsum(0).flip(0)
    return piled.take(ring)


def _draw_signs(draws: Tensor) -> Tensor:
    return torch.where(draws < 0.5, -1.0, 1.0)


def _measure_lengths(images: Tensor) -> Tensor:
    """Return the Euclidean length of each channel, (n, channels, 1, 1)."""
    length: Tensor = torch.linalg.vector_norm(images, dim=(2, 3), keepdim=True)
    return length


def _draw_window(images: Tensor, sides: Tensor, draws: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return a random square in each image, as (n, 1, h, w) booleans, and its upper and left edges, (n,) each."""
    top, down = _draw_interval(images.shape[2], sides, draws[:, 0])
    left, across = _draw_interval(images.shape[3], sides, draws[:, 1])
    return down[:, None, :, None] & across[:, None, None, :], top, left


def _draw_interval(size: int, sides: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Return the beginning of each interval, (n,), and the positions inside it, (n, size) booleans."""
    begin = torch.minimum((draws * (size - sides + 1)).long(), size - sides)
    places = torch.arange(size, device=draws.device)
    return begin, (places >= begin[:, None]) & (places < (begin + sides)[:, None])
