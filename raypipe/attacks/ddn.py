"""Decoupled direction and norm attack, DDN (Rony et al., 2019, arXiv:1811.09600): the shortest L2 perturbation.

The perturbation turns with the gradient. Its length shrinks where the model is fooled and grows where it is not.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from raypipe.attacks.base import Attack, TargetedAttack
from raypipe.attacks.engine.active import keep, run_active
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.losses import cross_entropy
from raypipe.attacks.engine.norms import draw_from_unit_ball, normalize
from raypipe.attacks.engine.tensors import TINY, measure_lengths, per_tile
from raypipe.attacks.engine.victim import Victim
from raypipe.base.norms import AnyNorm

LAST_STEP = 0.01
"""Length to which steps along the gradient shrink, from 1."""


class DecoupledDirectionNorm(TargetedAttack):
    """Settings of `decoupled_direction_norm`.

    Parameters
    ----------
    max_iterations
        Number of points, including the image itself. Each point costs a forward pass, and each but the last costs a
        backward pass.
    init_norm
        L2 length of the first perturbation, with pixels in [0, 1].
    gamma
        Share by which the length grows or shrinks in each iteration, in (0, 1).
    levels
        Number of equidistant values in [0, 1] that points are rounded to; 256 gives 8-bit images. None means no
        rounding.
    """

    name: Literal["ddn"] = "ddn"
    minimizes: ClassVar[AnyNorm] = "l2"
    max_iterations: int = Field(100, ge=2)
    init_norm: float = Field(1.0, gt=0)
    gamma: float = Field(0.05, gt=0, lt=1)
    levels: int | None = Field(256, ge=2)


@dataclass(frozen=True)
class _State:
    """State of the tiles that the attack still moves."""

    rows: Tensor
    clean: Tensor
    points: Tensor
    radius: Tensor
    """Length of the perturbation before rounding."""
    shortest: Tensor
    """Length of the shortest perturbation that reached the goal; infinite before the first one."""
    steps: Tensor
    """Number of steps taken so far."""


def decoupled_direction_norm(victim: Victim, images: Tensor, goal: Goal, settings: DecoupledDirectionNorm) -> Tensor:
    """Return images with the shortest L2 perturbation found that reaches the goal.

    Parameters
    ----------
    victim
        The frozen model.
    images
        (n, channels, h, w), float32 in [0, 1].
    goal
        True classes to leave, or target classes to reach.
    settings
        Settings of the iterations and the lengths.

    Returns
    -------
    torch.Tensor
        Adversarial images like `images`, in [0, 1]. A tile that already reaches the goal is returned unchanged. A tile
        on which the attack fails is returned at its last point.

    References
    ----------
    Rony et al., 2019, arXiv:1811.09600, algorithm 1.
    """
    result = images.clone()

    def start(rows: Tensor) -> _State:
        nothing_yet = torch.full_like(images[rows, 0, 0, 0], torch.inf)
        radius = torch.full_like(nothing_yet, settings.init_norm)
        return _State(rows, images[rows], images[rows], radius, nothing_yet, torch.zeros_like(rows))

    def step(state: _State) -> _State:
        points = state.points.detach().requires_grad_()
        logits = victim.logits(points, state.rows)
        adversarial = goal.clearly_reached(logits, state.rows)
        length = measure_lengths(points.detach() - state.clean)
        better = torch.where(adversarial, length < state.shortest, state.shortest.isinf())
        result[state.rows[better]] = points.detach()[better]
        state = replace(state, shortest=torch.where(adversarial & better, length, state.shortest))
        going = (state.steps + 1 < settings.max_iterations) & ~(goal.reached(logits, state.rows) & (state.steps == 0))
        if not bool(going.any()):
            return keep(state, going)
        loss = cross_entropy(logits, goal, state.rows)
        gradients = victim.gradient(loss[going].sum(), points, state.rows[going])
        directions = _choose_directions(state, gradients, settings.seed)
        return keep(_move(state, directions, adversarial, settings), going)

    run_active(victim, victim.rows(), start, step)
    return result


ATTACK = Attack(DecoupledDirectionNorm, decoupled_direction_norm)


def _choose_directions(state: _State, gradients: Tensor, seed: int) -> Tensor:
    """Return the directions to turn to: the gradient, or a random direction where the gradient is zero."""
    lost = ~gradients.flatten(1).any(1)
    if bool(lost.any()):
        gradients = gradients.clone()
        gradients[lost] = draw_from_unit_ball(state.clean[lost], "l2", key=str(seed))
    return normalize(gradients, "l2")


def _move(state: _State, directions: Tensor, adversarial: Tensor, settings: DecoupledDirectionNorm) -> _State:
    """Turn the perturbations and set their new lengths."""
    cooled = (1 + torch.cos(math.pi * state.steps / settings.max_iterations)) / 2
    turn = LAST_STEP + (1 - LAST_STEP) * cooled
    perturbation = state.points.detach() - state.clean + per_tile(turn, directions) * directions
    farthest = measure_lengths(torch.maximum(state.clean, 1 - state.clean))
    radius = state.radius * torch.where(adversarial, 1 - settings.gamma, 1 + settings.gamma)
    radius = torch.minimum(radius, farthest)
    scale = radius / measure_lengths(perturbation).clamp_min(TINY)
    points = (state.clean + per_tile(scale, perturbation) * perturbation).clamp(0, 1)
    if settings.levels is not None:
        points = (points * (settings.levels - 1)).round() / (settings.levels - 1)
    return replace(state, points=points, radius=radius, steps=state.steps + 1)
