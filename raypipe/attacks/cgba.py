"""Curvature-aware geometric black-box attack, CGBA (Reza et al., 2023, arXiv:2308.03163): short L2 perturbations.

It uses predicted classes only. At a point on the decision boundary, random queries around the point estimate the normal
of the boundary. The search then follows a semicircle from the point toward the clean tile, in the plane of the
perturbation and the normal. Every point of the semicircle is nearer to the clean tile than the one before. A binary
search finds where the semicircle leaves the adversarial region, and the next iteration starts there.

Two things differ from the publication. Random directions have a lower resolution than the tile instead of few
frequencies. With a bound, a point within it is moved to its edge, rounded to 8 bits and tested by a query.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from raypipe.attacks.base import Attack
from raypipe.attacks.engine.active import keep, predict_clean, run_active
from raypipe.attacks.engine.draws import derive_seeds
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.norms import MinimalAttack
from raypipe.attacks.engine.quantize import round_into_ball, to_bytes, to_unit
from raypipe.attacks.engine.tensors import TINY, measure_lengths, per_tile
from raypipe.attacks.engine.victim import Victim
from raypipe.base.norms import Ball
from raypipe.base.threat import Knowledge

BEGIN, LINE, NORMAL, ARC, EDGE = range(5)
"""Purpose of a tile's next query: find a start, move it to the boundary, estimate the normal there, search on the
semicircle, or test the point at the bound."""
HALVINGS = 12
"""Number of steps of a binary search. It ends nearer to the boundary than the random queries around it are."""
STARTS = 20
"""Number of random starts from a small to the largest amplitude. Later starts repeat these amplitudes."""


class GeometricBlackBox(MinimalAttack):
    """Settings of `geometric_black_box`, beside those of `raypipe.attacks.engine.norms.MinimalAttack`.

    Parameters
    ----------
    max_queries
        Largest number of queries for a tile.
    first_queries
        Number of queries that estimate the first normal. The t-th normal gets sqrt(t) times as many.
    reach
        Distance of these queries from the boundary, as a share of the perturbation's length.
    shrink
        Factor by which the resolution of the random directions is lower than that of the tile. With 1 they have the
        full resolution.
    """

    name: Literal["cgba"] = "cgba"
    knowledge: ClassVar[Knowledge] = "decision-based"
    norm: Literal["l2"] = "l2"
    max_queries: int = Field(1000, ge=1)
    first_queries: int = Field(30, ge=1)
    reach: float = Field(0.02, gt=0)
    shrink: int = Field(4, ge=1)


@dataclass(frozen=True)
class _State:
    """State of the tiles that the attack still searches."""

    rows: Tensor
    clean: Tensor
    seeds: Tensor
    points: Tensor
    """Adversarial points at the boundary. Before the first one, the start to move there."""
    normals: Tensor
    """Directions across the boundary, of length 1 and orthogonal to the perturbation."""
    drawn: Tensor
    """Last random direction of each tile."""
    inside: Tensor
    outside: Tensor
    """Sums of the random directions whose queries reached the goal, and of the others."""
    counts: Tensor
    """(n, 2) numbers of these directions."""
    low: Tensor
    high: Tensor
    """(n,) ends of the binary search: shares of the line, or angles on the semicircle."""
    stage: Tensor
    """(n,) purposes of the next query."""
    left: Tensor
    """(n,) number of queries that are left in this stage."""
    iteration: Tensor
    queries: Tensor


def geometric_black_box(victim: Victim, images: Tensor, goal: Goal, settings: GeometricBlackBox) -> Tensor:
    """Return images with a short L2 perturbation that reach the goal, found by queries for predicted classes.

    Parameters
    ----------
    victim
        The frozen model, whose logits serve only to predict a class.
    images
        (n, channels, h, w), float32 in [0, 1].
    goal
        True classes to leave, or target classes to reach.
    settings
        Settings of the search. Random draws come from the seed and the pixels.

    Returns
    -------
    torch.Tensor
        Adversarial images like `images`, in [0, 1]. A tile that already reaches the goal is returned unchanged, and
        so is one without an adversarial start.

    References
    ----------
    Reza, Rahmati, Wu and Dai, 2023, arXiv:2308.03163, algorithm 1.
    """
    result = images.clone()
    standing = ~goal.reached(predict_clean(victim, images), victim.rows())

    def start(rows: Tensor) -> _State:
        clean, none = images[rows], torch.zeros_like(rows)
        seeds = torch.tensor(derive_seeds(clean, f"cgba {settings.seed}"), device=rows.device)
        empty, zero = torch.zeros_like(clean), torch.zeros_like(clean[:, 0, 0, 0])
        counts = zero[:, None].expand(-1, 2)
        return _State(
            rows, clean, seeds, clean, empty, empty, empty, empty, counts, zero, zero, none, none, none, none
        )  # fmt: skip

    def step(state: _State) -> _State:
        state = _draw(state, settings)
        points = _propose(state, settings)
        with torch.no_grad():
            reached = goal.reached(victim.logits(points, state.rows), state.rows)
        hit = reached & (state.stage == EDGE)
        nearer = reached & ((state.stage == LINE) | (state.stage == ARC) | (state.stage == BEGIN) | hit)
        result[state.rows[nearer]] = points[nearer]
        victim.note_success(state.rows[reached if settings.eps is None else hit])
        state = _advance(replace(state, queries=state.queries + 1), points, reached, settings)
        return keep(state, ~hit & (state.queries < settings.max_queries))

    run_active(victim, standing.nonzero()[:, 0], start, step)
    return result


ATTACK = Attack(GeometricBlackBox, geometric_black_box)


def _draw(state: _State, settings: GeometricBlackBox) -> _State:
    """Draw a random direction of length 1 for each tile that needs one. It depends on the tile and the query alone."""
    needed = ((state.stage == BEGIN) | (state.stage == NORMAL)).nonzero()[:, 0]
    if not len(needed):
        return state
    _, channels, height, width = state.clean.shape
    shape = channels, -(-height // settings.shrink), -(-width // settings.shrink)
    keys = (state.seeds + state.queries)[needed].tolist()
    draws = [torch.randn(shape, generator=torch.Generator().manual_seed(key)) for key in keys]
    smooth = interpolate(torch.stack(draws).to(state.clean), (height, width), mode="bilinear")
    drawn = state.drawn.clone()
    drawn[needed] = smooth / per_tile(measure_lengths(smooth).clamp_min(TINY), smooth)
    return replace(state, drawn=drawn)


def _propose(state: _State, settings: GeometricBlackBox) -> Tensor:
    """Return the image that each tile shows to the model next."""
    offsets = state.points - state.clean
    size = measure_lengths(offsets)
    unit = offsets / per_tile(size.clamp_min(TINY), offsets)
    middle = (state.low + state.high) / 2
    amplitude = (1 + state.queries % STARTS) / STARTS * math.sqrt(offsets[0].numel())
    cosine, sine = torch.cos(middle), torch.sin(middle)
    steps = {
        BEGIN: per_tile(amplitude, unit) * state.drawn,
        LINE: per_tile(middle, unit) * offsets,
        NORMAL: offsets + per_tile(settings.reach * size, unit) * state.drawn,
        ARC: per_tile(size * cosine, unit) * (per_tile(cosine, unit) * unit + per_tile(sine, unit) * state.normals),
    }
    step = torch.zeros_like(offsets)
    for stage, change in steps.items():
        step = torch.where(per_tile(state.stage == stage, step), change, step)
    points = (state.clean + step).clamp(0, 1)
    at_edge = (state.stage == EDGE).nonzero()[:, 0]
    if settings.eps is not None and len(at_edge):
        clean = state.clean[at_edge]
        edge = (clean + settings.eps * unit[at_edge]).clamp(0, 1)
        points[at_edge] = to_unit(round_into_ball(to_bytes(clean), edge, Ball("l2", settings.eps)))
    return points


def _advance(state: _State, points: Tensor, reached: Tensor, settings: GeometricBlackBox) -> _State:
    """Return the state after the answers to a query for each tile."""
    begin, line, normal, arc = (state.stage == stage for stage in (BEGIN, LINE, NORMAL, ARC))
    begun = begin & reached
    middle = (state.low + state.high) / 2
    # A line runs from the clean tile to the start, and an arc from the boundary to the clean tile.
    low = torch.where((line & ~reached) | (arc & reached), middle, state.low)
    high = torch.where((line & reached) | (arc & ~reached), middle, state.high)
    low, high = torch.where(begun, 0, low), torch.where(begun, 1, high)
    moved = torch.where(per_tile(begun, points), points, state.points)

    answers = torch.stack([normal & reached, normal & ~reached], 1)
    inside = state.inside + per_tile(answers[:, 0], points) * state.drawn
    outside = state.outside + per_tile(answers[:, 1], points) * state.drawn
    counts = state.counts + answers

    left = torch.where(begun, HALVINGS, torch.where(begin, 0, state.left - 1))
    ended = ~begin & (left <= 0)
    at_line_end, at_arc_end, estimated = line & ended, arc & ended, normal & ended
    offsets = state.points - state.clean
    moved = torch.where(
        per_tile(at_line_end, moved), (state.clean + per_tile(high, moved) * offsets).clamp(0, 1), moved
    )
    moved = torch.where(per_tile(at_arc_end, moved), _on_arc(state, low), moved)

    within = torch.zeros_like(begin)
    if settings.eps is not None:
        within = (at_line_end | at_arc_end) & (measure_lengths(moved - state.clean) <= settings.eps)
    again = ((at_line_end | at_arc_end) & ~within) | (state.stage == EDGE)
    iteration = state.iteration + again
    stage = torch.where(begun, LINE, torch.where(within, EDGE, torch.where(again, NORMAL, state.stage)))
    stage = torch.where(estimated, ARC, stage)
    needed = (settings.first_queries * iteration.sqrt()).round().long()
    left = torch.where(again, needed, torch.where(estimated, HALVINGS, torch.where(within, 1, left)))
    low = torch.where(estimated, 0, low)
    high = torch.where(estimated, math.pi / 2, high)
    estimate = _estimate(inside, outside, counts, offsets)
    fresh = per_tile(again, inside)
    return replace(
        state,
        points=moved,
        normals=torch.where(per_tile(estimated, offsets), estimate, state.normals),
        inside=torch.where(fresh, 0, inside),
        outside=torch.where(fresh, 0, outside),
        counts=torch.where(again[:, None], 0, counts),
        low=low,
        high=high,
        stage=stage,
        left=left,
        iteration=iteration,
    )


def _on_arc(state: _State, angle: Tensor) -> Tensor:
    """Return the point of each tile's semicircle at an angle; at 0 it is the point at the boundary itself."""
    offsets = state.points - state.clean
    along = per_tile(torch.cos(angle) ** 2, offsets) * offsets
    across = per_tile(torch.cos(angle) * torch.sin(angle) * measure_lengths(offsets), offsets) * state.normals
    return (state.clean + along + across).clamp(0, 1)


def _estimate(inside: Tensor, outside: Tensor, counts: Tensor, offsets: Tensor) -> Tensor:
    """Return the normals toward the goal, without their part along the perturbation.

    The difference of the two means is the estimate with the smaller variance where one answer is rare.
    """
    means = [sums / per_tile(count.clamp_min(1), sums) for sums, count in zip((inside, outside), counts.T, strict=True)]
    normal = means[0] - means[1]
    unit = offsets / per_tile(measure_lengths(offsets).clamp_min(TINY), offsets)
    normal = normal - per_tile((normal * unit).flatten(1).sum(1), unit) * unit
    return normal / per_tile(measure_lengths(normal).clamp_min(TINY), normal)
