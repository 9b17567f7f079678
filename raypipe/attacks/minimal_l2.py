"""Minimal L2 (raypipe's own): DeepFool, followed by steps along the decision boundary to its nearest point.

At the nearest point of a boundary the perturbation is parallel to the boundary's normal. Each iteration therefore turns
the perturbation towards the normal found at its end, and sets its length to where the linearised model says the turned
ray meets the boundary. DDN (Rony et al., 2019, arXiv:1811.09600) turns likewise, but lets the length grow or shrink by
a fixed share and so needs several times the passes; FAB (Croce and Hein, 2020, arXiv:1907.02044) projects onto the
linearised boundary, which is a full turn in every step and does not settle where the boundary is curved.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from raypipe.attacks.base import AnyNorm, NativeAttack
from raypipe.attacks.deepfool import DeepFool, deepfool
from raypipe.attacks.engine.active import keep, run_active
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.tensors import TINY, lengths, per_tile
from raypipe.attacks.engine.victim import Victim

TURN = (0.6, 0.03)
"""Weight of the new normal against the old direction, at the first iteration and at the last."""
SHRINK = (0.5, 0.03)
GROW = (0.1, 0.03)
"""How far, as a share of the length, a step trusts the linearised model in either direction, at first and at last."""


class MinimalL2(NativeAttack):
    """Settings of `minimal_l2`.

    Parameters
    ----------
    max_iterations
        Of the polish; each costs a forward and a backward pass.
    deepfool_iterations
        At most, of the start; most tiles need two to four.
    overshoot
        The length aimed at is beyond the linearised boundary by this share, so that the points found lie on its far
        side.
    """

    name: Literal["minimal_l2"] = "minimal_l2"
    minimises: ClassVar[AnyNorm] = "l2"
    max_iterations: int = Field(20, ge=2)
    deepfool_iterations: int = Field(20, ge=1)
    overshoot: float = Field(0.01, gt=0)


@dataclass(frozen=True)
class _State:
    """Tiles that are being polished."""

    rows: Tensor
    clean: Tensor
    points: Tensor
    best: Tensor
    """Length of the shortest perturbation that fooled the model; infinite before there is one."""
    steps: Tensor


def minimal_l2(victim: Victim, images: Tensor, goal: Goal, settings: MinimalL2) -> Tensor:
    """Find the shortest perturbation in L2 that makes any other class win.

    Parameters
    ----------
    victim
        The frozen model.
    images
        (n, channels, h, w), float32 in [0, 1].
    goal
        The true classes, to be left.
    settings
        Iterations.

    Returns
    -------
    torch.Tensor
        Like `images`, in [0, 1]. A tile that is misclassified from the start comes back unchanged; one that could not
        be fooled comes back where it got to.

    Raises
    ------
    ValueError
        If the goal is targeted: DeepFool, where this starts, cannot aim.
    """
    begun = deepfool(victim, images, goal, DeepFool(max_iterations=settings.deepfool_iterations))
    result = begun.clone()

    def start(rows: Tensor) -> _State:
        # The first iteration asks again whether DeepFool's result fools the model, which not all do.
        nothing_yet = torch.full_like(images[rows, 0, 0, 0], torch.inf)
        return _State(rows, images[rows], begun[rows], nothing_yet, torch.zeros_like(rows))

    def step(state: _State) -> _State:
        points = state.points.requires_grad_()
        leads = goal.lead(victim.logits(points, state.rows), state.rows)
        length = lengths(points.detach() - state.clean)
        shorter = (leads.detach() < 0) & (length < state.best)
        result[state.rows[shorter]] = points.detach()[shorter]
        state = replace(state, best=torch.where(shorter, length, state.best), steps=state.steps + 1)
        going = state.steps < settings.max_iterations
        if not bool(going.any()):
            return keep(state, going)
        normals = victim.gradient(leads[going].sum(), points, state.rows[going])
        going &= normals.flatten(1).any(1)
        return keep(replace(state, points=_next_points(state, leads.detach(), normals, settings)), going)

    # DeepFool does not move what is misclassified already, nor what has no gradient.
    run_active(victim, (begun != images).flatten(1).any(1).nonzero()[:, 0], start, step)
    return result


def _next_points(state: _State, leads: Tensor, normals: Tensor, settings: MinimalL2) -> Tensor:
    """Turn the perturbation towards the normal; end where the linearised model puts the boundary."""
    perturbation = state.points.detach() - state.clean
    length = lengths(perturbation).clamp_min(TINY)
    progress = (1 - torch.cos(math.pi * (state.steps - 1) / (settings.max_iterations - 1))) / 2
    turn, shrink, grow = (first + (last - first) * progress for first, last in (TURN, SHRINK, GROW))
    old = perturbation / per_tile(length, perturbation)
    new = -normals / per_tile(lengths(normals).clamp_min(TINY), normals)
    direction = old + per_tile(turn, old) * (new - old)
    direction = direction / per_tile(lengths(direction).clamp_min(TINY), direction)
    slope = (normals * direction).flatten(1).sum(1)
    # Linearised at the end of the perturbation, the lead vanishes at this length along the new direction.
    crossing = ((normals * perturbation).flatten(1).sum(1) - leads) / slope * (1 + settings.overshoot)
    longest = torch.minimum(length * (1 + grow), state.best * (1 + grow / 2))
    aim = torch.where(slope < 0, crossing, longest).clamp(length * (1 - shrink), length * (1 + grow))
    aim = torch.minimum(aim, longest)
    return (state.clean + per_tile(aim, direction) * direction).clamp(0, 1)
