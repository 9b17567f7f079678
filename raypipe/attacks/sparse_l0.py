"""Sparse L0 (raypipe's own): set as few channel values as possible to black or white, by an averaged gradient.

The method is iterative hard thresholding (Blumensath and Davies, 2009, arXiv:0805.0510). It also searches for the
smallest number of features of each tile. Croce and Hein (2019, arXiv:1909.05040) project in the same way, but onto an
L0 ball of fixed size. Every changed feature moves to an end of its range, so rounding to 8 bits changes nothing. On
models that respond erratically to such jumps, the method fails on some tiles; sigma-zero attacks these.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from raypipe.attacks.base import Attack, TargetedAttack
from raypipe.attacks.engine.active import keep, run_active
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.victim import Victim
from raypipe.attacks.sigma_zero import SigmaZero, sigma_zero
from raypipe.base.norms import AnyNorm

GROW = 1.5
"""Factor by which the number of features grows in each step until the first success."""
TOO_MANY = 0.25
"""Share of all features. If the number of features would exceed it without a success, sigma-zero takes over."""
SHRINK, SLOWER = 0.3, 0.8
"""Share by which a success lowers the number of features, and factor by which each failure multiplies that share."""
WIDEN = 1.1
"""Factor by which the number of features grows after a failure. It stays below the smallest number that succeeded."""


class SparseL0(TargetedAttack):
    """Settings of `sparse_l0`.

    Parameters
    ----------
    max_iterations
        Largest number of steps.
    fallback_iterations
        Number of steps of sigma-zero on the tiles that do not reach the goal; 0 means no such steps.
    patience
        Number of failures in a row, with one feature less than the smallest number that succeeded, after which the
        attack stops on a tile.
    momentum
        Share of the averaged gradient that each step keeps, in [0, 1). With 0 the selected features vary strongly from
        step to step.
    """

    name: Literal["sparse_l0"] = "sparse_l0"
    minimizes: ClassVar[AnyNorm] = "l0"
    max_iterations: int = Field(50, ge=1)
    fallback_iterations: int = Field(100, ge=0)
    patience: int = Field(5, ge=1)
    momentum: float = Field(0.8, ge=0, lt=1)


@dataclass(frozen=True)
class _State:
    """State of the tiles whose smallest number of features is still searched, with flattened features."""

    rows: Tensor
    clean: Tensor
    points: Tensor
    slopes: Tensor
    """Averaged gradient of the lead, which the attack lowers."""
    size: Tensor
    """(n,) number of features to change, rounded down for use; 0 before the first step."""
    fewest: Tensor
    """(n,) smallest number of features of all successes; infinite before the first."""
    shrink: Tensor
    """(n,) share by which the next success lowers the size."""
    failures: Tensor
    """(n,) number of failures in a row with one feature less than the fewest."""
    steps: Tensor


def sparse_l0(victim: Victim, images: Tensor, goal: Goal, settings: SparseL0) -> Tensor:
    """Move as few features as possible to black or white.

    Each step changes the features of the clean image whose averaged gradients promise the largest effect. Their number
    grows until the image reaches the goal. Then it falls as long as a smaller number also reaches the goal.

    Parameters
    ----------
    victim
        The frozen model. Each step costs a forward and a backward pass, also in sigma-zero.
    images
        (n, channels, h, w), float32 in [0, 1]. Every channel value is a feature.
    goal
        True classes to leave, or target classes to reach.
    settings
        Settings of the budget.

    Returns
    -------
    torch.Tensor
        Adversarial images like `images`. Each value is the clean one, 0 or 1, except where sigma-zero took over. A tile
        that already reaches the goal is returned unchanged. A tile on which the attack fails is returned at its last
        point.
    """
    result = images.clone()
    resisting = torch.zeros_like(victim.rows(), dtype=torch.bool)
    most = TOO_MANY * images[0].numel()

    def start(rows: Tensor) -> _State:
        clean = images[rows].flatten(1)
        zeros, none = torch.zeros_like(rows), torch.zeros_like(clean[:, 0])
        state = _State(
            rows=rows,
            clean=clean,
            points=clean,
            slopes=torch.zeros_like(clean),
            size=none,
            fewest=none + torch.inf,
            shrink=none + SHRINK,
            failures=zeros,
            steps=zeros,
        )
        return step(state)

    def step(state: _State) -> _State:
        points = state.points.view(-1, *images.shape[1:]).detach().requires_grad_()
        logits = victim.logits(points, state.rows)
        # Changed features are already at an end of their range. Stretching cannot make up for a near tie.
        hit = goal.clearly_reached(logits, state.rows)
        used = (state.points != state.clean).sum(1).to(state.size.dtype)
        better = hit & (used < state.fewest)
        keeps = better | state.fewest.isinf()
        result[state.rows[keeps]] = points.detach()[keeps]
        state = _record(state, used, better)
        resisting[state.rows] = state.fewest.isinf()
        untouched = (state.steps == 0) & goal.reached(logits, state.rows)
        resisting[state.rows[untouched]] = False
        going = (
            ~untouched
            & (state.fewest.isfinite() | (state.size <= most))
            & (state.fewest > 1)
            & (state.failures < settings.patience)
        )
        going &= state.steps < settings.max_iterations
        if not bool(going.any()):
            return keep(state, going)
        leads = goal.lead(logits, state.rows)
        gradient = victim.gradient(leads[going].sum(), points, state.rows[going]).flatten(1)
        averaged = torch.lerp(gradient, state.slopes, settings.momentum)
        slopes = torch.where((state.steps == 0)[:, None], gradient, averaged)
        state = _resize(replace(state, slopes=slopes, steps=state.steps + 1), leads.detach(), hit)
        return keep(_change(state), going & slopes.any(1))

    run_active(victim, victim.rows(), start, step)
    rows = resisting.nonzero()[:, 0]
    if settings.fallback_iterations and len(rows):
        fallback = SigmaZero(max_iterations=settings.fallback_iterations)
        result[rows] = sigma_zero(victim, images, goal, fallback, rows)[rows]
    return result


ATTACK = Attack(SparseL0, sparse_l0)


def _record(state: _State, used: Tensor, better: Tensor) -> _State:
    """Record the successes with the fewest features so far, and the failures with just one feature less."""
    failed = ~better & (state.size.floor() >= state.fewest - 1)
    return replace(
        state,
        fewest=torch.where(better, used, state.fewest),
        failures=(state.failures + failed.long()).masked_fill(better, 0),
    )


def _gains(state: _State) -> Tensor:
    """Return the fall of the lead of a linear model for moving each feature to the better end of its range."""
    return torch.maximum(state.slopes * state.clean, -state.slopes * (1 - state.clean))


def _resize(state: _State, leads: Tensor, hit: Tensor) -> _State:
    """Set the number of features to change next."""
    known = state.fewest.isfinite()
    less = torch.minimum((state.fewest * (1 - state.shrink)).floor(), state.fewest - 1)
    more = torch.minimum(torch.maximum(WIDEN * state.size, state.size + 0.5), state.fewest - 1)
    size = torch.where(known, torch.where(hit, less, more), (GROW * state.size).ceil())
    fresh = state.size == 0
    if bool(fresh.any()):
        size = torch.where(fresh, _count_linear_features(state, leads), size)
    shrink = torch.where(known & ~hit, SLOWER * state.shrink, state.shrink)
    return replace(state, size=size.clamp(1, state.clean.shape[1]), shrink=shrink)


def _count_linear_features(state: _State, leads: Tensor) -> Tensor:
    """Return the number of features that a linear model would need, (n,)."""
    gains = _gains(state).sort(dim=1, descending=True).values.cumsum(1)
    return (gains < leads[:, None]).sum(1).to(leads.dtype) + 1


def _change(state: _State) -> _State:
    """Change the features of the clean image that promise the largest effect."""
    gains, features = _gains(state).topk(int(state.size.max()), dim=1)
    first = torch.arange(gains.shape[1], device=gains.device)
    taken = (gains > 0) & (first < state.size.floor()[:, None])
    ends = (state.slopes.gather(1, features) < 0).to(state.clean.dtype)
    changed = torch.where(taken, ends, state.clean.gather(1, features))
    return replace(state, points=state.clean.scatter(1, features, changed))
