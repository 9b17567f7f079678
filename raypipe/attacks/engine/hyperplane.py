"""The shortest move to a hyperplane inside the box [0, 1], in linf or l2.

Each value moves toward the hyperplane until it meets the edge of the box. In linf all values move by the same length,
in l2 in proportion to the hyperplane's normal. Newton's method finds the length. It works on the sum of the moves'
gains, which is concave and piecewise linear. It ends after as many steps as edges are met one after the other, usually
a few.
"""

import torch
from torch import Tensor

from raypipe.attacks.engine.tensors import per_tile
from raypipe.base.norms import Norm


def project_onto_hyperplane(points: Tensor, normals: Tensor, gaps: Tensor, norm: Norm) -> Tensor:
    """Return the shortest moves that end on the hyperplanes, or nearest to those that the box does not reach.

    Parameters
    ----------
    points
        (n, ...) in [0, 1].
    normals
        (n, ...). Where a normal is zero, there is no direction, and the point does not move.
    gaps
        (n,) amounts that the moves must add to the products of points and normals.
    norm
        Norm in which the moves are shortest.

    Returns
    -------
    torch.Tensor
        Moves like `points`. Points plus moves lie in the box, up to rounding.

    References
    ----------
    Croce and Hein, 2020, arXiv:1907.02044. They sort the values by the time when they meet the edge.
    """
    largest = normals.flatten(1).abs().amax(1)
    scale = torch.where(largest > 0, largest, 1)
    slopes = normals / per_tile(scale, normals) * per_tile(gaps.sign(), normals)
    room = torch.where(slopes > 0, 1 - points, points) * (slopes != 0)
    steepness = slopes.abs()
    speed = (steepness > 0).to(points.dtype) if norm == "linf" else steepness
    time = _find_time((steepness * speed).flatten(1), (steepness * room).flatten(1), gaps.abs() / scale)
    return slopes.sign() * torch.minimum(per_tile(time, speed) * speed, room)


def _find_time(rates: Tensor, limits: Tensor, wanted: Tensor) -> Tensor:
    """Return the time when the sum over ``min(time * rate, limit)`` is `wanted`, (n,); very large if it never is."""
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
