"""The binarization test: it shows if an attack finds an adversarial example that exists for certain.

A weak attack makes any model look robust. So the test replaces the model's last layer, tile by tile, by a linear
readout. The readout separates a point planted on the edge of the ball from points inside it. An adversarial example
then exists by construction. If an attack misses it, its failure on the model itself shows nothing.

The test follows Zimmermann et al. (2022) with the settings of their code: one planted point, inner points within 0.95
eps, logits scaled to a range of 1, success counted on floats. Departures:

- The readout is the one with the largest margin. Logistic regression without a penalty only tends toward it.
- Points are clipped to [0, 1] and not stretched afterwards. On black or white pixels, a planted point therefore lies
  inside the ball instead of on its edge.
- There are 99 inner points instead of 999. The decision boundary is moved by 0.9 of the way to the planted point; the
  authors move it by 0.999 where they move it.
- The planted example must still be one when its features are computed again, so a random model cannot be tested.
- Random points are drawn from the ball and not from its edge. Their number is the attack's largest number of forward
  passes on a tile, and at least 100; the authors draw 200.

References
----------
R. S. Zimmermann, W. Brendel, F. Tramer and N. Carlini, 2022, arXiv:2206.13991.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raypipe.attacks import get_attack
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.norms import BoundedAttack, draw_from_unit_ball, draw_points, measure_sizes
from raypipe.attacks.engine.quantize import to_unit
from raypipe.attacks.engine.tensors import per_tile
from raypipe.attacks.engine.victim import freeze
from raypipe.base.norms import Ball
from raypipe.evaluation.checks.evidence import PlantedSearch
from raypipe.evaluation.checks.readouts import Binarized, Readout, find_penultimate, separate
from raypipe.models.precision import full_precision

INNER_SHARE = 0.95
"""Share of eps within which inner points are drawn. The authors leave a gap of 0.05."""
ROUNDING = 1e-6
"""Distance by which a point may leave the ball."""
INSEPARABLE = "no linear readout separates the planted points from the points inside the ball"
UNSTEADY = "the features of the same points differ between two passes"


@full_precision()
def run_binarization_test(
    model: nn.Module,
    images: NDArray[np.uint8],
    settings: BoundedAttack,
    batch_size: int,
    device: torch.device,
    *,
    inner_points: int = 99,
    boundary_points: int = 1,
    least_random_points: int = 100,
    closeness: float = 0.9,
    seed: int = 0,
) -> PlantedSearch:
    """Plant an adversarial example for every tile, and run an attack to find it. The model is left unchanged.

    Parameters
    ----------
    model
        Model that maps images (n, 3, h, w) in [0, 1] to logits; on `device`. The last `torch.nn.Linear` to run must
        give the logits.
    images
        (n, h, w, 3) uint8 tiles, at least one. Their labels do not matter.
    settings
        The attack under test, and its ball.
    batch_size
        Number of tiles per pass.
    device
        Device that runs the model.
    inner_points
        Number of random points that the readout separates from the planted points, besides the tile itself. More points
        make the test harder.
    boundary_points
        Number of points planted on the edge of the ball. More points make the test easier.
    least_random_points
        Minimum number of random points per tile.
    closeness
        Position of the decision boundary, from the middle of the margin, 0, to the planted points, 1 (excluded). A
        larger value makes the test harder, above all for random points. But the planted points must stay on their side
        under float noise.
    seed
        Seed of all points. Besides it, they depend only on the tile's pixels.

    Returns
    -------
    PlantedSearch
        The result. It costs ``3 + inner_points + 2 * boundary_points`` forward passes per tile, the passes of the
        attack, and the passes of the random points. The latter end with the batch of the first point of class 1. One
        more pass, of the first tile, finds the layer.

    Raises
    ------
    ValueError
        If shapes or types do not fit.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise ValueError(f"images {images.dtype} {images.shape}: expected uint8 (n, h, w, 3), n >= 1")
    clean = to_unit(torch.from_numpy(images).to(device).permute(0, 3, 1, 2).contiguous())
    with freeze(model):
        features = find_penultimate(model, clean[:1])
        if isinstance(features, str):
            return _find_nothing([features] * len(images), passes=0)
        edge = torch.stack([_draw_edge_points(tile, settings.ball, boundary_points, seed) for tile in clean])
        readouts: list[Readout | None] = []
        for tile, planted in zip(clean, edge, strict=True):
            inner = _draw_ball_points(tile, settings.ball, range(inner_points), f"{seed} inner", share=INNER_SHARE)
            batches = torch.split(torch.cat([tile[None], inner, planted]), batch_size)
            with torch.no_grad():
                vectors = torch.cat([features.extract(batch) for batch in batches])
            readouts.append(separate(vectors, boundary_points, closeness))
        result = _find_nothing(
            ["" if readout else INSEPARABLE for readout in readouts], passes=1 + inner_points + boundary_points
        )
        at = result.applicable
        if not at.any():
            return result
        victim = Binarized(features, [readout for readout in readouts if readout], batch_size)
        mask = torch.from_numpy(at).to(device)
        try:
            search = _run_search(victim, clean[mask], edge[mask], settings, least_random_points, seed)
        except ValueError as error:
            reason = f"the attack does not run on two classes: {error}"
            return replace(result, reasons=np.where(at, reason, result.reasons))
    for mine, its in ((result.found, search.found), (result.random_found, search.random_found)):
        mine[at] = (its & search.steady).cpu().numpy()
    result.forwards[at] += victim.forwards.cpu().numpy()
    result.backwards[at] += victim.backwards.cpu().numpy()
    unsteady = np.zeros_like(at)
    unsteady[at] = ~search.steady.cpu().numpy()
    return replace(result, reasons=np.where(unsteady, UNSTEADY, result.reasons), random_points=search.random_points)


class _Search(NamedTuple):
    """The results of the attack and the random points on the tiles that have a readout."""

    found: Tensor
    random_found: Tensor
    steady: Tensor
    """True where, in another pass, the readout still separates the planted points from the tile."""
    random_points: int


def _run_search(
    victim: Binarized, clean: Tensor, edge: Tensor, settings: BoundedAttack, least_random_points: int, seed: int
) -> _Search:
    """Run the attack to find the planted points, and then draw random points.

    The number of random points is the attack's largest number of forward passes on a tile, or `least_random_points` if
    that is more.
    """
    rows = victim.rows()
    goal = Goal(torch.zeros_like(rows)) if settings.target is None else Goal(torch.ones_like(rows), targeted=True)
    points = get_attack(settings).generate(victim, clean, goal, settings)
    draws = max(least_random_points, int(victim.forwards.max()))
    found = victim.positive(points, rows) & _within(points, clean, settings.ball)
    by_chance = [
        _find_by_chance(victim, tile, row, settings.ball, draws, seed) for tile, row in zip(clean, rows, strict=True)
    ]
    planted = victim.positive(edge.flatten(0, 1), rows.repeat_interleave(edge.shape[1])).view(len(rows), -1)
    steady = planted.all(1) & ~victim.positive(clean, rows)
    return _Search(found, torch.tensor(by_chance, device=rows.device), steady, draws)


def _find_by_chance(victim: Binarized, tile: Tensor, row: Tensor, ball: Ball, draws: int, seed: int) -> bool:
    """Return True if at least one of a tile's random points is of class 1."""
    for begin in range(0, draws, victim.batch_size):
        numbers = range(begin, min(begin + victim.batch_size, draws))
        points = _draw_ball_points(tile, ball, numbers, f"{seed} chance")
        if bool(victim.positive(points, row.expand(len(points))).any()):
            return True
    return False


def _draw_ball_points(tile: Tensor, ball: Ball, numbers: Sequence[int], key: str, share: float = 1.0) -> Tensor:
    """Draw one random point for each number from a ball around a tile, with `share` times the radius of `ball`."""
    points = [draw_points(tile[None], share * ball.eps, ball.norm, f"{key} {number}") for number in numbers]
    return torch.cat([tile[None][:0], *points])


def _draw_edge_points(tile: Tensor, ball: Ball, count: int, seed: int) -> Tensor:
    """Draw random points on the edge of the ball around a tile, and clip them to [0, 1]."""
    draws = torch.cat([draw_from_unit_ball(tile[None], ball.norm, f"{seed} edge {number}") for number in range(count)])
    return (tile + ball.eps * draws / per_tile(measure_sizes(draws, ball.norm), draws)).clamp(0, 1)


def _within(points: Tensor, clean: Tensor, ball: Ball) -> Tensor:
    """Return (n,) booleans: True where the point lies in the ball and in [0, 1]."""
    in_box = (points.flatten(1).amin(1) >= 0) & (points.flatten(1).amax(1) <= 1)
    return in_box & (measure_sizes(points - clean, ball.norm) <= ball.eps + ROUNDING)


def _find_nothing(reasons: list[str], passes: int) -> PlantedSearch:
    """Return a result in which nothing is found, with a reason for each tile.

    A reason is empty where the search is still to run. The first tile has one pass more.
    """
    count = len(reasons)
    return PlantedSearch(
        found=np.zeros(count, dtype=np.bool_),
        random_found=np.zeros(count, dtype=np.bool_),
        reasons=np.array(reasons),
        random_points=0,
        forwards=passes + np.eye(1, count, dtype=np.int64)[0],
        backwards=np.zeros(count, dtype=np.int64),
    )
