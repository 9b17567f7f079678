"""RayS (Chen and Gu, 2020, arXiv:2006.12792): the direction in which the boundary is nearest, in linf.

It uses predicted classes only. A direction is a sign for each value of the tile. A proposal flips the signs of a block
of values, and the blocks halve as the search goes on. One query shows if the flipped direction reaches the goal at
least as near as the best one. If so, a binary search finds out how near it is.

With a bound, the first query after such a success is at the bound itself, on 8-bit pixels. The authors search first and
compare the distance with the bound.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from raypipe.attacks.base import Attack
from raypipe.attacks.engine.active import keep, predict_clean, run_active
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.norms import MinimalAttack
from raypipe.attacks.engine.tensors import per_tile
from raypipe.attacks.engine.victim import Victim
from raypipe.base.threat import Knowledge

FLIP, EDGE, HALVE = range(3)
"""Purpose of a tile's next query: test a proposal at the best radius, test a direction at the bound, or halve the
interval of the binary search."""
FARTHEST = 1.0
"""Radius at which every value is black or white, so that larger radii give the same image."""


class RayS(MinimalAttack):
    """Settings of `ray_search`, beside those of `raypipe.attacks.engine.norms.MinimalAttack`.

    Parameters
    ----------
    max_queries
        Largest number of queries for a tile.
    tolerance
        Width at which the binary search ends, with pixels in [0, 1]; the default is the published 0.001.
    """

    name: Literal["rays"] = "rays"
    knowledge: ClassVar[Knowledge] = "decision-based"
    norm: Literal["linf"] = "linf"
    max_queries: int = Field(1000, ge=1)
    tolerance: float = Field(0.001, gt=0)


@dataclass(frozen=True)
class _State:
    """State of the tiles that the attack still searches."""

    rows: Tensor
    clean: Tensor
    signs: Tensor
    """Best directions so far, with values -1 and 1."""
    trial: Tensor
    """Directions of the next query."""
    near: Tensor
    far: Tensor
    """(n,) radii where the trial misses and where it reaches the goal; `far` is the best radius between searches."""
    stage: Tensor
    """(n,) purposes of the next query."""
    level: Tensor
    block: Tensor
    """(n,) logarithm of the number of blocks, and the block that the trial flips; -1 before the first one."""
    queries: Tensor


def ray_search(victim: Victim, images: Tensor, goal: Goal, settings: RayS) -> Tensor:
    """Return images with a small linf perturbation that reach the goal, found by queries for predicted classes.

    Parameters
    ----------
    victim
        The frozen model, whose logits serve only to predict a class.
    images
        (n, channels, h, w), float32 in [0, 1].
    goal
        True classes to leave, or target classes to reach.
    settings
        Settings of the search. All steps are fixed, so nothing depends on the seed.

    Returns
    -------
    torch.Tensor
        Adversarial images like `images`, in [0, 1]. A tile that already reaches the goal is returned unchanged. A tile
        on which the attack fails is returned at the last direction, at the bound if there is one.

    References
    ----------
    Chen and Gu, 2020, arXiv:2006.12792, algorithms 1 to 3.
    """
    result = images.clone()
    standing = ~goal.reached(predict_clean(victim, images), victim.rows())
    bound = settings.eps or 0.0

    def start(rows: Tensor) -> _State:
        clean, none = images[rows], torch.zeros_like(rows)
        ones, radius = torch.ones_like(clean), torch.full_like(clean[:, 0, 0, 0], FARTHEST)
        return _State(rows, clean, ones, ones, radius * 0, radius, none, none, none - 1, none)

    def step(state: _State) -> _State:
        radius = torch.where(state.stage == HALVE, (state.near + state.far) / 2, state.far)
        radius = torch.where(state.stage == EDGE, bound, radius)
        points = (state.clean + per_tile(radius, state.clean) * state.trial).clamp(0, 1)
        with torch.no_grad():
            reached = goal.reached(victim.logits(points, state.rows), state.rows)
        hit = reached & (radius <= bound)
        counted = reached if settings.eps is None else hit
        victim.note_success(state.rows[counted])
        result[state.rows[reached]] = points[reached]
        state = _advance(replace(state, queries=state.queries + 1), reached, radius, settings)
        return keep(state, ~hit & (state.queries < settings.max_queries))

    run_active(victim, standing.nonzero()[:, 0], start, step)
    return result


ATTACK = Attack(RayS, ray_search)


def _advance(state: _State, reached: Tensor, radius: Tensor, settings: RayS) -> _State:
    """Return the state after the answers to a query for each tile at a radius."""
    better = (state.stage == FLIP) & reached
    searching = state.stage == HALVE
    near = torch.where(better, 0, torch.where((state.stage == EDGE) | (searching & ~reached), radius, state.near))
    far = torch.where(searching & reached, radius, state.far)
    signs = torch.where(per_tile(better, state.signs), state.trial, state.signs)
    stage = torch.where(better, HALVE if settings.eps is None else EDGE, HALVE)
    done = ((state.stage == FLIP) & ~reached) | ((state.stage != FLIP) & (far - near <= settings.tolerance))
    stage = torch.where(done, FLIP, stage)
    block, level = state.block + done, state.level
    full = block >= 2**level
    values = state.clean[0].numel()
    level = torch.where(full, torch.where(2**level >= values, 0, level + 1), level)
    block = torch.where(full, 0, block)
    trial = torch.where(per_tile(done, signs), _flip(signs, level, block), signs)
    return replace(state, signs=signs, trial=trial, near=near, far=far, stage=stage, level=level, block=block)


def _flip(signs: Tensor, level: Tensor, block: Tensor) -> Tensor:
    """Return directions with one of 2**level blocks of consecutive values flipped."""
    places = torch.arange(signs[0].numel(), device=signs.device)
    size = -(-len(places) // 2**level)
    inside = (places >= (block * size)[:, None]) & (places < ((block + 1) * size)[:, None])
    return torch.where(inside.view(signs.shape), -signs, signs)
