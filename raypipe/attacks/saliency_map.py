"""The saliency map attack, JSMA (Papernot et al., 2016, arXiv:1511.07528): change few features, those that matter most.

The saliency is ART's: the two features with the largest gradient of the target's logit. (The published one multiplies
that gradient with the summed gradients of all other classes, and scores pairs.) What is added here: the number of pairs
taken in a step may grow, which turns thousands of steps into a hundred, and features that turn out not to be needed are
restored.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from raypipe.attacks.active import keep
from raypipe.attacks.attack import NamedAttack
from raypipe.attacks.goal import Goal
from raypipe.attacks.targets import random_targets
from raypipe.attacks.tensors import clear, margins
from raypipe.attacks.victim import Victim


class SaliencyMap(NamedAttack):
    """Settings of `saliency_map`.

    Parameters
    ----------
    theta
        Added to a feature each time it is taken, -1 to 1 and not 0. A feature may be taken until it is saturated.
    gamma
        Share of the features that may change.
    growth
        Pairs of features taken in a step grow by this factor with each step; 1: one pair a step, as published.
    target
        The class to aim at: the ``runner_up`` on the clean image, or a ``random`` wrong one, drawn from seed and
        pixels.
    attempts
        With ``runner_up`` and ``misclassify``: where the likeliest wrong class cannot be reached, the attack starts
        again with the next, up to this many in all.
    goal
        What counts as success: any class but the true one (``misclassify``), or the ``target`` alone.
    prune
        Restore the features that are not needed, smallest changes first; forward passes only.
    max_iterations
        Steps of an attempt at most. Reached only with a small growth or theta.
    seed
        Of random targets.
    """

    name: Literal["saliency_map"] = "saliency_map"
    backend: Literal["raypipe"] = "raypipe"
    theta: float = Field(1.0, ge=-1, le=1)
    gamma: float = Field(1.0, gt=0, le=1)
    growth: float = Field(1.07, ge=1)
    target: Literal["runner_up", "random"] = "runner_up"
    attempts: int = Field(3, ge=1)
    goal: Literal["misclassify", "target"] = "misclassify"
    prune: bool = True
    max_iterations: int = Field(10_000, ge=1)
    seed: int = Field(0, ge=0)

    @field_validator("theta")
    @classmethod
    def _moves(cls, theta: float) -> float:
        if theta == 0:
            raise ValueError("theta = 0 changes nothing: expected -1..1 but not 0")
        return theta


@dataclass(frozen=True)
class _Goal:
    """What every tile is to become."""

    labels: Tensor
    targets: Tensor
    target_only: bool

    def reached(self, logits: Tensor, rows: Tensor) -> Tensor:
        predicted = logits.detach().argmax(1)
        return predicted == self.targets[rows] if self.target_only else predicted != self.labels[rows]

    def clearly_reached(self, logits: Tensor, rows: Tensor) -> Tensor:
        """As `reached`, but not by a hair: a saturated perturbation cannot be stretched to make up for rounding."""
        if self.target_only:
            return clear(margins(logits, self.targets[rows]), logits)
        return clear(-margins(logits, self.labels[rows]), logits)


@dataclass(frozen=True)
class _State:
    """Tiles that are not fooled yet, their features flattened."""

    rows: Tensor
    points: Tensor
    changed: Tensor


def saliency_map(victim: Victim, images: Tensor, aim: Goal, settings: SaliencyMap) -> Tensor:
    """Raise (or lower) the most salient features, pair by pair, until the model is fooled.

    Parameters
    ----------
    victim
        The frozen model.
    images
        (n, channels, h, w), float32 in [0, 1]. Every channel value is a feature.
    labels
        (n,) true classes.
    settings
        Step, budget, target and goal.

    Returns
    -------
    torch.Tensor
        Like `images`, in [0, 1]. A tile that is misclassified from the start comes back unchanged; one that could not
        be fooled comes back where it got to.

    References
    ----------
    Papernot et al., 2016, arXiv:1511.07528, algorithm 2. The rule is that of the Adversarial Robustness Toolbox 1.20
    (its issue 2306 tells the difference).
    """
    labels = aim.classes
    with torch.no_grad():
        logits = victim.logits(images, victim.rows())
    result = images.clone()
    fooled = logits.argmax(1) != labels
    goal = _Goal(labels, labels, target_only=settings.goal == "target")
    for targets in _aims(images, labels, logits, settings).unbind(1):
        goal = replace(goal, targets=targets)
        _walk(victim, images, result, fooled, goal, settings)
    return _prune(victim, images, result, fooled, goal) if settings.prune else result


def _aims(images: Tensor, labels: Tensor, logits: Tensor, settings: SaliencyMap) -> Tensor:
    """The targets of each tile, in the order to try them: (n, attempts)."""
    classes = logits.shape[1]
    if settings.target == "random":
        return random_targets(images, labels, classes, settings.seed)[:, None]
    attempts = 1 if settings.goal == "target" else min(settings.attempts, classes - 1)
    return logits.scatter(1, labels[:, None], -torch.inf).topk(attempts, dim=1).indices


def _walk(victim: Victim, images: Tensor, result: Tensor, fooled: Tensor, goal: _Goal, settings: SaliencyMap) -> None:
    """Attack the tiles that are not fooled yet; their last points go into the result, their fate into `fooled`."""
    features = images.flatten(1)
    state = keep(_State(victim.rows(), features, torch.zeros_like(features, dtype=torch.bool)), ~fooled)
    pairs, allowed = 1.0, int(settings.gamma * features.shape[1])
    for iteration in range(settings.max_iterations + 1):
        if not len(state.rows):
            break
        points = state.points.view(-1, *images.shape[1:]).detach().requires_grad_()
        logits = victim.logits(points, state.rows)
        result[state.rows] = points.detach()
        reached = goal.reached(logits, state.rows)
        fooled[state.rows[reached]] = True
        standing = ~reached
        if iteration == settings.max_iterations or not bool(standing.any()):
            break
        objective = logits.gather(1, goal.targets[state.rows, None])[standing].sum()
        gradient = victim.gradient(objective, points, state.rows[standing]).flatten(1)
        state, moved = _take(state, gradient, settings.theta, int(pairs), allowed)
        state = keep(state, standing & moved)
        pairs = max(1.0, min(pairs * settings.growth, allowed / 2))


def _take(state: _State, gradient: Tensor, theta: float, pairs: int, allowed: int) -> tuple[_State, Tensor]:
    """Move the most salient features that still can move; the second result says for which tiles there were any."""
    up = theta > 0
    movable = state.points < 1 if up else state.points > 0
    saliency = (gradient if up else -gradient).masked_fill(~movable, -torch.inf)
    count = min(2 * pairs, saliency.shape[1])
    score, features = saliency.topk(count, dim=1)
    # The first pair is taken whatever its sign, as ART does; more only if they help, or if none does any more.
    helps, first = score > 0, torch.arange(count, device=score.device) < 2
    taken = score.isfinite() & (helps | first | ~helps.any(1, keepdim=True)) & gradient.any(1, keepdim=True)
    fresh = taken & ~state.changed.gather(1, features)
    taken &= ~(fresh & (fresh.cumsum(1) + state.changed.sum(1, keepdim=True) > allowed))
    before = state.points.gather(1, features)
    after = torch.where(taken, (before + theta).clamp(0, 1), before)
    moved = replace(
        state,
        points=state.points.scatter(1, features, after),
        changed=state.changed.scatter(1, features, state.changed.gather(1, features) | taken),
    )
    return moved, taken.any(1)


@dataclass(frozen=True)
class _Bisection:
    """How many of each tile's changes, counted from the smallest, can be restored: `low` can, `high` cannot."""

    rows: Tensor
    low: Tensor
    high: Tensor


def _prune(victim: Victim, images: Tensor, adversarial: Tensor, fooled: Tensor, goal: _Goal) -> Tensor:
    """Restore as many of the smallest changes as a bisection finds to be unneeded."""
    clean, changed = images.flatten(1), adversarial.flatten(1)
    size = (changed - clean).abs()
    rank = torch.where(size > 0, size, torch.inf).argsort(dim=1, stable=True).argsort(dim=1)
    result = changed.clone()
    count = (size > 0).sum(1)
    search = keep(_Bisection(victim.rows(), torch.zeros_like(count), count), fooled & (count > 1))
    while len(search.rows):
        rows, middle = search.rows, (search.low + search.high) // 2
        candidates = torch.where(rank[rows] < middle[:, None], clean[rows], changed[rows])
        with torch.no_grad():
            still = goal.clearly_reached(victim.logits(candidates.view(-1, *images.shape[1:]), rows), rows)
        result[rows[still]] = candidates[still]
        low, high = torch.where(still, middle, search.low), torch.where(still, search.high, middle)
        search = keep(replace(search, low=low, high=high), high - low > 1)
    return result.view_as(images)
