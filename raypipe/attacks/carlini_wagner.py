"""Carlini and Wagner's L2 attack (Carlini and Wagner, 2017, arXiv:1608.04644): Adam on size plus margin.

There are the published form and a form that needs a single run. Both minimize ``||x' - x||^2 + c * hinge`` with Adam
over ``w``, where ``x' = (tanh(w) + 1) / 2``. They differ in their start and in their search for the constant ``c``.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from raypipe.attacks.base import Attack, TargetedAttack
from raypipe.attacks.deepfool import DeepFool, deepfool
from raypipe.attacks.engine.active import keep, run_active
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.tanh_descent import (
    Descent,
    Shortest,
    begin_descent,
    compute_objective_gradient,
    probe_points,
    step_adam,
    to_tanh,
)
from raypipe.attacks.engine.tensors import TINY, measure_lengths, per_tile
from raypipe.attacks.engine.victim import Victim
from raypipe.base.norms import AnyNorm

TENFOLD = 10.0
"""Factor by which the constant grows until the first success, as in the authors' code."""
PATIENCE = 10
"""Number of times that a published run checks its loss; it stops where the loss no longer falls."""
RAISE, LOWER = 0.2, -0.15
"""First shares by which the adaptive constant grows while the tile is not fooled, and shrinks while it is fooled. Thus
the search stays at the decision boundary."""
STEADY, COOL = 0.2, 0.1
"""Factors that remain of these shares, and of the learning rate, at the end of a run."""
REACH = 0.7
"""Learning rate of an adaptive run, in units of the root mean square of the perturbation at its start."""
PUBLISHED_RATE = 0.01


class CarliniWagnerL2(TargetedAttack):
    """Settings of `carlini_wagner_l2`.

    Parameters
    ----------
    method
        ``adaptive`` starts at DeepFool's result and adapts each tile's constant in every step of a single run. This is
        not the published procedure, but it has the same objective and needs a fraction of the passes. ``published``
        starts at the image and searches for each tile's constant by repeated runs.
    max_iterations
        Number of steps of one run.
    learning_rate
        Learning rate of Adam in tanh space. None means 0.01 for ``published``. For ``adaptive`` it means a rate for
        each tile, in proportion to the length of DeepFool's perturbation.
    confidence
        Lead in logits that another class must have.
    binary_search_steps
        Number of runs, for ``published`` only.
    initial_const
        First constant, for ``published`` only. None means the constant that is correct for each tile if the model is
        linear.
    abort_early
        True if a tile's run stops when its loss no longer falls, for ``published`` only.
    """

    name: Literal["carlini_wagner_l2"] = "carlini_wagner_l2"
    minimizes: ClassVar[AnyNorm] = "l2"
    method: Literal["adaptive", "published"] = "adaptive"
    max_iterations: int = Field(30, ge=1)
    learning_rate: float | None = Field(None, gt=0)
    confidence: float = Field(0.0, ge=0)
    binary_search_steps: int = Field(4, ge=1)
    initial_const: float | None = Field(None, gt=0)
    abort_early: bool = True

    @model_validator(mode="after")
    def _search_is_published(self) -> Self:
        if self.method == "adaptive" and self.target is not None:
            raise ValueError(
                f"target = {self.target}: `adaptive` starts with DeepFool, which cannot aim; use `method: published`"
            )
        for name in ("binary_search_steps", "initial_const", "abort_early"):
            value = getattr(self, name)
            if self.method == "adaptive" and value != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} = {value}: only `method: published` searches for the constant; set it, or remove {name}"
                )
        return self


def carlini_wagner_l2(victim: Victim, images: Tensor, goal: Goal, settings: CarliniWagnerL2) -> Tensor:
    """Return images with the shortest L2 perturbation found that makes another class win.

    Parameters
    ----------
    victim
        The frozen model.
    images
        (n, channels, h, w), float32 in [0, 1].
    goal
        True classes to leave; or, with ``method: published``, target classes to reach.
    settings
        Settings of the method and the budget.

    Returns
    -------
    torch.Tensor
        Adversarial images like `images`, in [0, 1], with the shortest perturbation found for each tile. A tile that is
        already misclassified is returned unchanged. A tile on which the attack fails is returned at its last point.

    References
    ----------
    Carlini and Wagner, 2017, arXiv:1608.04644, section VI.A, objective f_6.
    """
    return (_search_adaptively if settings.method == "adaptive" else _search_as_published)(
        victim, images, goal, settings
    )


ATTACK = Attack(CarliniWagnerL2, carlini_wagner_l2)


def search_constant(constant: Tensor, lower: Tensor, upper: Tensor, hit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Take one step of each tile's search for the smallest constant that fools the model.

    Parameters
    ----------
    constant, lower, upper
        (n,) last constant, largest constant known to fail (0 if none), and smallest constant known to succeed (infinite
        if none).
    hit
        (n,) booleans, True where the last constant succeeded.

    Returns
    -------
    tuple of torch.Tensor
        The next constant, and both new bounds.
    """
    upper = torch.where(hit, torch.minimum(upper, constant), upper)
    lower = torch.where(hit, lower, torch.maximum(lower, constant))
    return torch.where(upper.isfinite(), (lower + upper) / 2, constant * TENFOLD), lower, upper


def _search_adaptively(victim: Victim, images: Tensor, goal: Goal, settings: CarliniWagnerL2) -> Tensor:
    begun = deepfool(victim, images, goal, DeepFool())
    best = Shortest(images)
    distances = measure_lengths(begun - images)
    # A pixel of x' = (tanh(w) + 1) / 2 changes by at most half as much as w.
    own_rates = REACH * 2 * distances / images[0].numel() ** 0.5
    rates = own_rates if settings.learning_rate is None else torch.full_like(distances, settings.learning_rate)

    def start(rows: Tensor) -> Descent:
        return begin_descent(rows, images[rows], distances[rows], begun[rows])

    def step(state: Descent) -> Descent:
        probe = probe_points(victim, state, goal, settings.confidence)
        best.offer(state.rows, probe.points.detach(), probe.squares, probe.adversarial)
        going = state.steps + 1 < settings.max_iterations
        if not bool(going.any()):
            return keep(state, going)
        slopes = victim.gradient(probe.leads[going].sum(), probe.points, state.rows[going])
        # At the optimum the pulls of length and hinge cancel: 2 ||x' - x|| = c ||slope||.
        balanced = 2 * distances[state.rows] / measure_lengths(slopes).clamp_min(TINY)
        constants = torch.where(state.steps == 0, balanced, state.constants)
        leads = probe.leads.detach()
        gradient = compute_objective_gradient(state.clean, probe.points.detach(), slopes, constants, leads)
        cooling = (1 + torch.cos(math.pi * state.steps / settings.max_iterations)) / 2
        cooled = rates[state.rows] * (COOL + (1 - COOL) * cooling)
        # A run this short needs a second moment with a shorter memory than the usual 0.999.
        state = step_adam(state, gradient, per_tile(cooled, gradient), beta=0.99)
        change = torch.where(probe.adversarial, LOWER, RAISE) * (STEADY + (1 - STEADY) * cooling)
        return keep(replace(state, constants=constants * (1 + change)), going)

    # DeepFool does not move tiles that are already misclassified, nor tiles without a gradient.
    run_active(victim, distances.nonzero()[:, 0], start, step)
    return best.images


@dataclass(frozen=True)
class _Search(Descent):
    """State of a descent at a fixed constant, within the search for the smallest constant that fools the model."""

    loss: Tensor
    """Loss at the last check; infinite before the first check."""
    hit: Tensor
    """True where this run has fooled the model."""
    lower: Tensor
    upper: Tensor
    runs: Tensor
    """Number of finished runs."""


def _search_as_published(victim: Victim, images: Tensor, goal: Goal, settings: CarliniWagnerL2) -> Tensor:
    best = Shortest(images)
    look = max(1, settings.max_iterations // PATIENCE)

    def start(rows: Tensor) -> _Search:
        none = torch.zeros_like(images[rows, 0, 0, 0])
        return _Search(
            **vars(begin_descent(rows, images[rows], none + (settings.initial_const or 0), images[rows])),
            loss=none + torch.inf,
            hit=torch.zeros_like(rows, dtype=torch.bool),
            lower=none,
            upper=none + torch.inf,
            runs=torch.zeros_like(rows),
        )

    def step(state: _Search) -> _Search:
        probe = probe_points(victim, state, goal, settings.confidence)
        leads, fresh = probe.leads.detach(), state.steps == 0
        # A tile that needs no perturbation is already misclassified, and the attack leaves it unchanged.
        standing = ~(fresh & (state.runs == 0) & (leads < settings.confidence))
        found = probe.adversarial & standing
        best.offer(state.rows[standing], probe.points.detach()[standing], probe.squares[standing], found[standing])
        state = replace(state, hit=state.hit | found)
        loss = probe.squares + state.constants * leads.clamp_min(0)
        looking = (state.steps % look == 0) & settings.abort_early
        over = (state.steps + 1 >= settings.max_iterations) | (looking & (loss > 0.9999 * state.loss))
        going = standing & ~over
        slopes = torch.zeros_like(probe.points)
        if bool(going.any()):
            slopes = victim.gradient(probe.leads[going].sum(), probe.points, state.rows[going])
        if settings.initial_const is None:
            # In a linear model the shortest way across the boundary is 2 lead / slope^2 times half the slope.
            linear = 2 * leads / measure_lengths(slopes).square().clamp_min(TINY)
            state = replace(state, constants=torch.where(fresh & (state.runs == 0), linear, state.constants))
            loss = probe.squares + state.constants * leads.clamp_min(0)
        gradient = compute_objective_gradient(state.clean, probe.points.detach(), slopes, state.constants, leads)
        state = replace(state, loss=torch.where(looking, loss, state.loss))
        state = _start_next_run(
            step_adam(state, gradient, settings.learning_rate or PUBLISHED_RATE, beta=0.999), standing & over
        )
        return keep(state, standing & (state.runs < settings.binary_search_steps))

    run_active(victim, victim.rows(), start, step)
    return best.images


def _start_next_run(state: _Search, over: Tensor) -> _Search:
    """Start the next run at the image, with the next constant, for each tile whose run is over."""
    if not bool(over.any()):
        return state
    constants, lower, upper = search_constant(state.constants, state.lower, state.upper, state.hit)
    again = per_tile(over, state.w)
    nothing = torch.zeros_like(state.w)
    return replace(
        state,
        constants=torch.where(over, constants, state.constants),
        lower=torch.where(over, lower, state.lower),
        upper=torch.where(over, upper, state.upper),
        w=torch.where(again, to_tanh(state.clean), state.w),
        mean=torch.where(again, nothing, state.mean),
        square=torch.where(again, nothing, state.square),
        steps=state.steps.masked_fill(over, 0),
        loss=state.loss.masked_fill(over, torch.inf),
        hit=state.hit & ~over,
        runs=state.runs + over.long(),
    )
