"""The shortest way to a hyperplane inside the box [0, 1], in linf or l2.

Each value moves towards the hyperplane until it meets the edge of the box: in linf all values by the same, in l2 in
proportion to the hyperplane's normal. How far is found by Newton's method on the sum of what the moves gain, which is
concave and made of straight pieces: it ends after as many steps as edges are met one after the other, mostly a few.
"""

import torch
from torch import Tensor

from raypipe.attacks.base import Norm
from raypipe.attacks.engine.tensors import per_tile


def to_hyperplane(points: Tensor, normals: Tensor, gaps: Tensor, norm: Norm) -> Tensor:
    """Shortest moves that end on the hyperplanes; where the box does not reach one, the moves that end nearest to it.

    Parameters
    ----------
    points
        (n, ...) in [0, 1].
    normals
        (n, ...). Where one is zero, there is no way to go, and none is gone.
    gaps
        (n,) what the moves are to add to the products of points and normals.
    norm
        In which moves are the shortest.

    Returns
    -------
    torch.Tensor
        Like `points`. With these added, points are still in the box, but for rounding.

    References
    ----------
    Croce and Hein, 2020, arXiv:1907.02044, who sort the values by when they meet the edge.
    """
    largest = normals.flatten(1).abs().amax(1)
    scale = torch.where(largest > 0, largest, 1)
    slopes = normals / per_tile(scale, normals) * per_tile(gaps.sign(), normals)
    room = torch.where(slopes > 0, 1 - points, points) * (slopes != 0)
    steepness = slopes.abs()
    speed = (steepness > 0).to(points.dtype) if norm == "linf" else steepness
    time = _time((steepness * speed).flatten(1), (steepness * room).flatten(1), gaps.abs() / scale)
    return slopes.sign() * torch.minimum(per_tile(time, speed) * speed, room)


def _time(rates: Tensor, limits: Tensor, wanted: Tensor) -> Tensor:
    """When the sum over ``min(time * rate, limit)`` is what is wanted, (n,); very large if it never is."""
    time = torch.zeros_like(wanted)
    full = rates <= 0
    while True:
        left = wanted - (limits * full).sum(1)
        rate = (rates * ~full).sum(1)
        time = torch.where(rate > 0, torch.maximum(time, left / rate), torch.finfo(time.dtype).max)
        more = full | (time[:, None] * rates >= limits)
        if bool((more == full).all()):
            return time
        full = more
