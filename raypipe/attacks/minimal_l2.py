"""Minimal L2 (raypipe's own): DeepFool, followed by steps along the decision boundary to its nearest point.

At the nearest point of a boundary the perturbation is parallel to the boundary's normal. Therefore each iteration turns
the perturbation toward the normal at its end. It then sets the length so that the perturbation ends at the boundary of
the linearized model. DDN (Rony et al., 2019, arXiv:1811.09600) turns in the same way. It changes the length by a fixed
share and therefore needs several times as many passes. FAB (Croce and Hein, 2020, arXiv:1907.02044) projects onto the
linearized boundary. This is a full turn in every step, and it does not converge where the boundary is curved.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from raypipe.attacks.base import Attack, NativeAttack
from raypipe.attacks.deepfool import DeepFool, deepfool
from raypipe.attacks.engine.active import keep, run_active
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.tensors import TINY, measure_lengths, per_tile
from raypipe.attacks.engine.victim import Victim
from raypipe.base.norms import AnyNorm

TURN = (0.6, 0.03)
"""Weight of the new normal relative to the old direction, at the first and at the last iteration."""
SHRINK = (0.5, 0.03)
GROW = (0.1, 0.03)
"""Largest changes of the length in a step, as shares of the length, at the first and at the last iteration. Beyond them
the step does not trust the linearized model."""


class MinimalL2(NativeAttack):
    """Settings of `minimal_l2`.

    Parameters
    ----------
    max_iterations
        Number of iterations after DeepFool; each costs a forward and a backward pass.
    deepfool_iterations
        Largest number of iterations of DeepFool; most tiles need two to four.
    overshoot
        Share by which the length exceeds the distance to the linearized boundary, so that points lie beyond the
        boundary.
    """

    name: Literal["minimal_l2"] = "minimal_l2"
    minimizes: ClassVar[AnyNorm] = "l2"
    max_iterations: int = Field(20, ge=2)
    deepfool_iterations: int = Field(20, ge=1)
    overshoot: float = Field(0.01, gt=0)


@dataclass(frozen=True)
class _State:
    """State of the tiles whose perturbations the attack still shortens."""

    rows: Tensor
    clean: Tensor
    points: Tensor
    best: Tensor
    """Length of the shortest perturbation that fooled the model; infinite before the first one."""
    steps: Tensor


def minimal_l2(victim: Victim, images: Tensor, goal: Goal, settings: MinimalL2) -> Tensor:
    """Return images with the shortest L2 perturbation found that makes another class win.

    Parameters
    ----------
    victim
        The frozen model.
    images
        (n, channels, h, w), float32 in [0, 1].
    goal
        True classes to leave.
    settings
        Settings of the iterations.

    Returns
    -------
    torch.Tensor
        Adversarial images like `images`, in [0, 1]. A tile that is already misclassified is returned unchanged. A tile
        on which the attack fails is returned at DeepFool's last point.

    Raises
    ------
    ValueError
        If the goal is targeted, because the attack starts with DeepFool, which cannot aim at a class.
    """
    begun = deepfool(victim, images, goal, DeepFool(max_iterations=settings.deepfool_iterations))
    result = begun.clone()

    def start(rows: Tensor) -> _State:
        # The first iteration checks again if DeepFool's result fools the model, because not every result does.
        nothing_yet = torch.full_like(images[rows, 0, 0, 0], torch.inf)
        return _State(rows, images[rows], begun[rows], nothing_yet, torch.zeros_like(rows))

    def step(state: _State) -> _State:
        points = state.points.requires_grad_()
        leads = goal.lead(victim.logits(points, state.rows), state.rows)
        length = measure_lengths(points.detach() - state.clean)
        shorter = (leads.detach() < 0) & (length < state.best)
        result[state.rows[shorter]] = points.detach()[shorter]
        state = replace(state, best=torch.where(shorter, length, state.best), steps=state.steps + 1)
        going = state.steps < settings.max_iterations
        if not bool(going.any()):
            return keep(state, going)
        normals = victim.gradient(leads[going].sum(), points, state.rows[going])
        going &= normals.flatten(1).any(1)
        return keep(replace(state, points=_choose_next_points(state, leads.detach(), normals, settings)), going)

    # DeepFool does not move tiles that are already misclassified, nor tiles without a gradient.
    run_active(victim, (begun != images).flatten(1).any(1).nonzero()[:, 0], start, step)
    return result


ATTACK = Attack(MinimalL2, minimal_l2)


def _choose_next_points(state: _State, leads: Tensor, normals: Tensor, settings: MinimalL2) -> Tensor:
    """Turn the perturbations toward the normals, and end them at the boundary of the linearized model."""
    perturbation = state.points.detach() - state.clean
    length = measure_lengths(perturbation).clamp_min(TINY)
    progress = (1 - torch.cos(math.pi * (state.steps - 1) / (settings.max_iterations - 1))) / 2
    turn, shrink, grow = (first + (last - first) * progress for first, last in (TURN, SHRINK, GROW))
    old = perturbation / per_tile(length, perturbation)
    new = -normals / per_tile(measure_lengths(normals).clamp_min(TINY), normals)
    direction = old + per_tile(turn, old) * (new - old)
    direction = direction / per_tile(measure_lengths(direction).clamp_min(TINY), direction)
    slope = (normals * direction).flatten(1).sum(1)
    # In the model linearized at the end of the perturbation, the lead is zero at this length along the new direction.
    crossing = ((normals * perturbation).flatten(1).sum(1) - leads) / slope * (1 + settings.overshoot)
    longest = torch.minimum(length * (1 + grow), state.best * (1 + grow / 2))
    aim = torch.where(slope < 0, crossing, longest).clamp(length * (1 - shrink), length * (1 + grow))
    aim = torch.minimum(aim, longest)
    return (state.clean + per_tile(aim, direction) * direction).clamp(0, 1)
