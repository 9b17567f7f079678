"""DeepFool (Moosavi-Dezfooli et al., 2016, arXiv:1511.04599): step to the nearest boundary of the linearized model.

One forward pass serves the success test and the gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from raypipe.attacks.base import Attack, NativeAttack
from raypipe.attacks.engine.active import keep, run_active
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.tensors import TINY, measure_lengths, per_tile
from raypipe.attacks.engine.victim import Victim
from raypipe.base.norms import AnyNorm

BEYOND = 1e-4
"""Length added to each step, as in the authors' code. Without it steps would shrink to zero at the boundary."""


class DeepFool(NativeAttack):
    """Settings of `deepfool`.

    Parameters
    ----------
    max_iterations
        Largest number of steps.
    overshoot
        Share by which every iteration stretches the perturbation, so that it ends beyond the boundary.
    lazy
        True if only the first step computes the gradients of all classes. Later steps estimate the distances with the
        last known gradient lengths, and compute only the gradient of the nearest class. False means all classes in
        every step, as published.
    """

    name: Literal["deepfool"] = "deepfool"
    minimizes: ClassVar[AnyNorm] = "l2"
    max_iterations: int = Field(50, ge=1)
    overshoot: float = Field(0.02, ge=0)
    lazy: bool = True


@dataclass(frozen=True)
class _State:
    """State of the tiles that the model still classifies correctly."""

    rows: Tensor
    clean: Tensor
    traveled: Tensor
    slopes: Tensor
    """(n, classes - 1) last known lengths of the gradients of the boundaries; no columns before the first step."""
    steps: Tensor
    """Number of steps taken so far."""


def deepfool(victim: Victim, images: Tensor, goal: Goal, settings: DeepFool) -> Tensor:
    """Perturb images to the nearest class boundary in L2.

    Parameters
    ----------
    victim
        The frozen model.
    images
        (n, channels, h, w), float32 in [0, 1].
    goal
        True classes to leave.
    settings
        Settings of the iterations and the overshoot.

    Returns
    -------
    torch.Tensor
        Adversarial images like `images`, in [0, 1]. A tile that is already misclassified is returned unchanged. A tile
        on which the attack fails is returned at its last point.

    Raises
    ------
    ValueError
        If the goal is targeted, because the method searches for the nearest boundary of any class.

    References
    ----------
    Moosavi-Dezfooli, Fawzi and Frossard, 2016, arXiv:1511.04599, algorithm 2.
    """
    if goal.targeted:
        raise ValueError("deepfool cannot aim at a class: it steps to the nearest boundary")
    result = images.clone()

    def start(rows: Tensor) -> _State:
        state = _State(
            rows=rows,
            clean=images[rows],
            traveled=torch.zeros_like(images[rows]),
            slopes=images.new_empty(len(rows), 0),
            steps=torch.zeros_like(rows),
        )
        return advance(state, _measure_every_boundary)

    def step(state: _State) -> _State:
        return advance(state, _measure_nearest_boundary if settings.lazy else _measure_every_boundary)

    def advance(state: _State, look: "_Look") -> _State:
        points = (state.clean + (1 + settings.overshoot) * state.traveled).clamp(0, 1).requires_grad_()
        logits = victim.logits(points, state.rows)
        going = ~goal.reached(logits, state.rows) & (state.steps < settings.max_iterations)
        steps, slopes = torch.zeros_like(points), state.slopes
        if bool(going.any()):
            leads = _leads(logits, goal.classes[state.rows])
            steps, slopes = look(victim, state, leads, points, going)
            # Without a gradient there is no direction to move in, so the attack fails on the tile and stops.
            going &= steps.flatten(1).any(1)
        result[state.rows[~going]] = points.detach()[~going]
        moved = replace(state, traveled=state.traveled + steps, slopes=slopes, steps=state.steps + 1)
        return keep(moved, going)

    run_active(victim, victim.rows(), start, step)
    return result


ATTACK = Attack(DeepFool, deepfool)


def _leads(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the logit of the true class minus each other logit, (n, classes - 1)."""
    classes = torch.arange(logits.shape[1] - 1, device=logits.device)
    others = classes + (classes >= labels[:, None]).long()
    return logits.gather(1, labels[:, None]) - logits.gather(1, others)


def _step(lead: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the distance to a linear boundary, the step across it, and the length of its gradient."""
    slope = measure_lengths(gradient)
    # No perturbation inside the box is longer than its diagonal. Only a vanishing gradient gives a longer step.
    distance = (lead.abs() / slope.clamp_min(TINY) + BEYOND).clamp_max(gradient[0].numel() ** 0.5)
    return distance, per_tile(-distance / slope.clamp_min(TINY), gradient) * gradient, slope


_Look = Callable[[Victim, _State, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""A search for the boundary to step to: (victim, state, leads, points, standing) -> steps, lengths of the gradients."""


def _measure_every_boundary(
    victim: Victim, state: _State, leads: Tensor, points: Tensor, standing: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the steps to the nearest boundaries and all gradient lengths, with one backward pass per other class."""
    nearest = torch.full_like(leads[:, 0], torch.inf).detach()
    steps, slopes = torch.zeros_like(points), []
    for column, lead in enumerate(leads.unbind(1)):
        more = column + 1 < leads.shape[1]
        gradient = victim.gradient(lead[standing].sum(), points, state.rows[standing], retain_graph=more)
        distance, step, slope = _step(lead.detach(), gradient)
        # Without a gradient there is no step to the boundary, even if the lead is small.
        nearer = (distance < nearest) & (slope > 0)
        nearest = torch.where(nearer, distance, nearest)
        steps = torch.where(per_tile(nearer, steps), step, steps)
        slopes.append(slope)
    return steps.detach(), torch.stack(slopes, 1)


def _measure_nearest_boundary(
    victim: Victim, state: _State, leads: Tensor, points: Tensor, standing: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the steps and lengths with one backward pass, for the boundary nearest by the last known lengths."""
    column = (leads.detach().abs() / state.slopes.clamp_min(TINY)).argmin(1, keepdim=True)
    lead = leads.gather(1, column)[:, 0]
    gradient = victim.gradient(lead[standing].sum(), points, state.rows[standing])
    _, steps, slope = _step(lead.detach(), gradient)
    return steps, state.slopes.scatter(1, column, slope[:, None])
