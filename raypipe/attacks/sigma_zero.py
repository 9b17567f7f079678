"""Sigma-zero (Cinà et al., 2024, arXiv:2402.01879): descend on a smooth stand-in for the number of changed features.

Adam uses the normalized gradient, as in the authors' code and unlike in algorithm 1 of the paper.
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
from raypipe.attacks.engine.tensors import TINY, per_tile
from raypipe.attacks.engine.victim import Victim
from raypipe.base.norms import AnyNorm

COOLEST = 0.1
"""Share of the first learning rate to which the rate falls along a cosine."""


class SigmaZero(TargetedAttack):
    """Settings of `sigma_zero`; the defaults are the paper's, but for the number of steps, which it varies.

    Parameters
    ----------
    max_iterations
        Number of steps.
    learning_rate
        First learning rate of Adam.
    sigma
        Sharpness of the stand-in, which is the sum of ``d^2 / (d^2 + sigma)`` over the perturbation.
    threshold
        First threshold, in [0, 1]. Each step sets values of the perturbation below the threshold to zero. The attack
        adapts the threshold of each tile.
    threshold_rate
        Change of a tile's threshold in each step, in units of the learning rate. The threshold rises while the tile
        reaches the goal, and falls while it does not.
    """

    name: Literal["sigma_zero"] = "sigma_zero"
    minimizes: ClassVar[AnyNorm] = "l0"
    max_iterations: int = Field(100, ge=1)
    learning_rate: float = Field(1.0, gt=0)
    sigma: float = Field(1e-3, gt=0)
    threshold: float = Field(0.3, ge=0, le=1)
    threshold_rate: float = Field(0.01, ge=0)


@dataclass(frozen=True)
class _State:
    """State of the tiles that the attack still changes."""

    rows: Tensor
    perturbation: Tensor
    mean: Tensor
    square: Tensor
    threshold: Tensor
    fewest: Tensor
    """(n,) number of features that the sparsest success changes; infinite before the first success."""
    steps: Tensor


def sigma_zero(victim: Victim, images: Tensor, goal: Goal, settings: SigmaZero, rows: Tensor | None = None) -> Tensor:
    """Return images with the sparsest perturbation found that reaches the goal.

    Parameters
    ----------
    victim
        The frozen model. Each step costs a forward and a backward pass; the last step costs only a forward pass.
    images
        (n, channels, h, w), float32 in [0, 1]. Every channel value is a feature.
    goal
        True classes to leave, or target classes to reach; the paper has no target classes.
    settings
        Settings of the steps and the rates.
    rows
        Positions of the tiles to attack; all tiles by default. The others are returned unchanged.

    Returns
    -------
    torch.Tensor
        Adversarial images like `images`, in [0, 1], with the sparsest success found. A tile that already reaches the
        goal is returned unchanged. A tile on which the attack fails is returned at its last point.

    References
    ----------
    Cinà, Villani, Pintor, Schönherr, Biggio and Pelillo, 2024, arXiv:2402.01879.
    """
    result = images.clone()

    def start(rows: Tensor) -> _State:
        zeros = torch.zeros_like(images[rows])
        none = zeros[:, 0, 0, 0]
        state = _State(
            rows=rows,
            perturbation=zeros,
            mean=zeros,
            square=zeros,
            threshold=none + settings.threshold,
            fewest=none + torch.inf,
            steps=torch.zeros_like(rows),
        )
        return step(state)

    def step(state: _State) -> _State:
        clean = images[state.rows]
        points = (clean + state.perturbation).clamp(0, 1).requires_grad_()
        logits = victim.logits(points, state.rows)
        reached = goal.reached(logits, state.rows)
        count = state.perturbation.flatten(1).count_nonzero(dim=1).to(clean.dtype)
        better = reached & (count < state.fewest)
        keeps = better | state.fewest.isinf()
        result[state.rows[keeps]] = points.detach()[keeps]
        state = replace(state, fewest=torch.where(better, count, state.fewest))
        going = (state.steps + 1 < settings.max_iterations) & (state.fewest > 0)
        if not bool(going.any()):
            return keep(state, going)
        hinge = goal.lead(logits, state.rows).clamp_min(0)
        slopes = victim.gradient(hinge[going].sum(), points, state.rows[going])
        # Without a gradient at the image there is no direction to move in, now or later.
        going &= (state.steps > 0) | slopes.flatten(1).any(1)
        return keep(_descend(state, clean, slopes, reached, settings), going)

    run_active(victim, victim.rows() if rows is None else rows, start, step)
    return result


ATTACK = Attack(SigmaZero, sigma_zero)


def anneal_rate(steps: Tensor, settings: SigmaZero) -> Tensor:
    """Return the learning rate after each number of steps, (n,)."""
    cosine = torch.cos(math.pi * steps / settings.max_iterations)
    return settings.learning_rate * (COOLEST + (1 - COOLEST) * (1 + cosine) / 2)


def _descend(state: _State, clean: Tensor, slopes: Tensor, reached: Tensor, settings: SigmaZero) -> _State:
    """Take one step of Adam on the hinge and the stand-in, and then apply the threshold."""
    perturbation, steps = state.perturbation, state.steps + 1
    # The stand-in's gradient has a closed form. Only the hinge's gradient needs the network.
    spread = 2 * settings.sigma * perturbation / (perturbation.square() + settings.sigma).square()
    gradient = slopes + spread / clean[0].numel()
    gradient = gradient / per_tile(gradient.abs().flatten(1).amax(1).clamp_min(TINY), gradient)
    mean, square = torch.lerp(gradient, state.mean, 0.9), torch.lerp(gradient.square(), state.square, 0.999)
    power = per_tile(steps.to(clean.dtype), clean)
    # This is 1 - beta^steps. The plain difference would lose half of its digits in the first steps.
    first, second = (-torch.expm1(power * math.log(beta)) for beta in (0.9, 0.999))
    change = mean / first / ((square / second).sqrt() + 1e-8)
    moved = perturbation - per_tile(anneal_rate(state.steps.to(clean.dtype), settings), clean) * change
    moved = (clean + moved).clamp(0, 1) - clean
    rate = settings.threshold_rate * anneal_rate(steps.to(clean.dtype), settings)
    threshold = (state.threshold + torch.where(reached, rate, -rate)).clamp(0, 1)
    moved = moved.masked_fill(moved.abs() < per_tile(threshold, moved), 0)
    return replace(state, perturbation=moved, mean=mean, square=square, threshold=threshold, steps=steps)
