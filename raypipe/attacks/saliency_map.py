"""Saliency map attack, JSMA (Papernot et al., 2016, arXiv:1511.07528): change the few features that matter most.

Published are the pair rule, and one pair a step. The Adversarial Robustness Toolbox has another rule, the two features
with the largest gradient of the target's logit (its issue 2306). Not published, and what the defaults are: the number
of pairs taken in a step grows, which turns hundreds of steps into a dozen, and features that turn out not to be needed
are restored.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from raypipe.attacks.base import AnyNorm, Target, TargetedAttack
from raypipe.attacks.engine.active import keep, run_active
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.prune import prune
from raypipe.attacks.engine.salient_pairs import best_pair
from raypipe.attacks.engine.targets import random_targets
from raypipe.attacks.engine.victim import Victim

CAREFUL = 60
"""For so many steps of an attempt, the number of pairs falls back to one after a step that did not help, and beyond the
first only pairs that help are taken. Later it grows regardless: otherwise tiles that a network does not let go, as one
does that has hardly learned anything, wander for thousands of steps, a pair at a time, mostly to the same end. Where
an attempt gets there and succeeds, it may change more features: 5 to 8 % in the mean on an erratic ShuffleNet."""


class SaliencyMap(TargetedAttack):
    """Settings of `saliency_map`.

    Parameters
    ----------
    rule
        Which features are taken. ``art``: those with the largest gradient of the logit of the class aimed at, as the
        Adversarial Robustness Toolbox has it. ``pair``: the published rule, for twice the backward passes.
    theta
        Added to a feature each time it is taken, -1 to 1 and not 0. A feature may be taken until it is saturated.
    gamma
        Share of the features that may change. As in the toolbox, the last step goes up to two features beyond it.
    growth
        Pairs of features taken in a step grow by this factor with each step that brings the goal nearer. Early in an
        attempt they fall back to one with each that does not. 1: one pair a step, as published.
    aim
        The class to raise where any wrong one counts as success: the ``runner_up`` on the clean image, or a ``random``
        wrong one, drawn from seed and pixels. With a `target` that is the class to raise.
    attempts
        With ``aim: runner_up``: where the likeliest wrong class cannot be reached, the attack starts again with the
        next, up to this many in all.
    prune
        Rounds of restoring the features that are not needed; 0: none, as published.
    max_iterations
        Steps of an attempt at most. Reached only with a small growth or theta.
    """

    name: Literal["saliency_map"] = "saliency_map"
    minimises: ClassVar[AnyNorm] = "l0"
    rule: Literal["art", "pair"] = "art"
    theta: float = Field(1.0, ge=-1, le=1)
    gamma: float = Field(1.0, gt=0, le=1)
    growth: float = Field(1.5, ge=1)
    aim: Target = "runner_up"
    attempts: int = Field(3, ge=1)
    prune: int = Field(3, ge=0)
    max_iterations: int = Field(10_000, ge=1)

    @field_validator("theta")
    @classmethod
    def _moves(cls, theta: float) -> float:
        if theta == 0:
            raise ValueError("theta = 0 changes nothing: expected -1..1 but not 0")
        return theta


@dataclass(frozen=True)
class _State:
    """Tiles that do not reach their goal yet, their features flattened."""

    rows: Tensor
    points: Tensor
    changed: Tensor
    """(n, features) booleans."""
    pairs: Tensor
    """How many to take in the next step, rounded down."""
    lead: Tensor
    """(n,) how far from the goal before the last step; infinite at first."""
    steps: Tensor
    """Taken in this attempt."""
    attempt: Tensor
    aims: Tensor
    """(n, attempts) the classes to raise, in the order to try them; no columns before the first pass."""


def saliency_map(victim: Victim, images: Tensor, goal: Goal, settings: SaliencyMap) -> Tensor:
    """Raise (or lower) the most salient features, pair by pair, until the goal is reached.

    Parameters
    ----------
    victim
        The frozen model.
    images
        (n, channels, h, w), float32 in [0, 1]. Every channel value is a feature.
    goal
        The true classes, to be left; or targets, to be reached.
    settings
        Rule, step and budget.

    Returns
    -------
    torch.Tensor
        Like `images`, in [0, 1]. A tile that reaches the goal from the start comes back unchanged; one that could not
        be brought there comes back where it got to.

    References
    ----------
    Papernot et al., 2016, arXiv:1511.07528, algorithms 2 and 3. With ``rule: art``, ``growth: 1`` and ``prune: 0`` it
    is `SaliencyMapMethod` of the Adversarial Robustness Toolbox 1.20, but that it gives up where no gradient is left.
    """
    result = images.clone()
    allowed = int(settings.gamma * images[0].numel())

    def start(rows: Tensor) -> _State:
        features = images[rows].flatten(1)
        zeros = torch.zeros_like(rows)
        untouched = torch.zeros_like(features, dtype=torch.bool)
        pairs = torch.ones_like(features[:, 0])
        far = torch.full_like(pairs, torch.inf)
        return step(_State(rows, features, untouched, pairs, far, zeros, zeros, rows.new_empty(len(rows), 0)))

    def step(state: _State) -> _State:
        points = state.points.view(-1, *images.shape[1:]).detach().requires_grad_()
        logits = victim.logits(points, state.rows)
        if not state.aims.shape[1]:
            state = replace(state, aims=_aims(images[state.rows], goal, state.rows, logits.detach(), settings))
        state = _pace(state, goal.lead(logits.detach(), state.rows), settings)
        standing = ~goal.reached(logits, state.rows)
        going = standing & (state.steps < settings.max_iterations) & (state.changed.sum(1) <= allowed)
        result[state.rows] = points.detach()
        if bool(going.any()):
            aims = state.aims.gather(1, state.attempt[:, None])
            features, taken = _salient(victim, state, points, logits, aims, going, settings)
            state, moved = _move(state, features, taken, settings, allowed)
            going &= moved
        state, again = _next_attempt(state, images[state.rows].flatten(1), standing & ~going)
        return keep(state, going | again)

    run_active(victim, victim.rows(), start, step)
    return prune(victim, images, result, goal, settings.prune) if settings.prune else result


def _aims(images: Tensor, goal: Goal, rows: Tensor, logits: Tensor, settings: SaliencyMap) -> Tensor:
    """The classes to raise, (n, attempts)."""
    classes, labels = logits.shape[1], goal.classes[rows]
    if goal.targeted:
        return labels[:, None]
    if settings.aim == "random":
        return random_targets(images, labels, classes, settings.seed)[:, None]
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.topk(min(settings.attempts, classes - 1), dim=1).indices


def _pace(state: _State, lead: Tensor, settings: SaliencyMap) -> _State:
    """How many pairs to take next: more while steps bring the goal nearer; one, early on, where the last did not.

    Some models are so far from linear that large steps lead nowhere; growth alone would change every feature of a tile
    that needs ten.
    """
    grown = (settings.growth * state.pairs).clamp_max(state.points.shape[1])
    first = state.steps == 0
    helped = (lead < state.lead) | (state.steps > CAREFUL)
    pairs = torch.where(first, state.pairs, torch.where(helped, grown, torch.ones_like(grown)))
    return replace(state, pairs=pairs, lead=lead)


def _salient(
    victim: Victim,
    state: _State,
    points: Tensor,
    logits: Tensor,
    aims: Tensor,
    going: Tensor,
    settings: SaliencyMap,
) -> tuple[Tensor, Tensor]:
    """The most salient features that can still move, (n, most), and which of them each tile takes, as booleans."""
    up = settings.theta > 0
    movable = state.points < 1 if up else state.points > 0
    counts = (2 * state.pairs.long()).clamp_max(movable.shape[1])
    own = logits.gather(1, aims)[going].sum()
    rows, pair_rule = state.rows[going], settings.rule == "pair"
    target = victim.gradient(own, points, rows, retain_graph=pair_rule).flatten(1)
    target = target if up else -target
    score = target
    if pair_rule:
        others = victim.gradient(logits[going].sum() - own, points, rows).flatten(1)
        others = others if up else -others
        score = torch.where((target > 0) & (others < 0), -target * others, -torch.inf)
    score, features = score.masked_fill(~movable, -torch.inf).topk(int(counts.max()), dim=1)
    first = torch.arange(score.shape[1], device=score.device)
    taken = score.isfinite() & (first < counts[:, None])
    if pair_rule:
        single = (counts == 2).nonzero()[:, 0]
        if len(single):
            features[single, :2], found = best_pair(target[single], others[single], movable[single])
            taken[single] = found[:, None] & (first < 2)
        return features, taken
    # The first pair is taken whatever its sign, as the toolbox does; more only if they help, or late in an attempt.
    late = (state.steps > CAREFUL)[:, None] & (settings.growth > 1)
    return features, taken & ((first < 2) | (score > 0) | late) & target.any(1, keepdim=True)


def _move(state: _State, features: Tensor, taken: Tensor, settings: SaliencyMap, allowed: int) -> tuple[_State, Tensor]:
    """Move the features taken; the second result says for which tiles there were any."""
    fresh = taken & ~state.changed.gather(1, features)
    room = (allowed - state.changed.sum(1, keepdim=True)).clamp_min(2)
    taken = taken & ~(fresh & (fresh.cumsum(1) > room))
    before = state.points.gather(1, features)
    after = torch.where(taken, (before + settings.theta).clamp(0, 1), before)
    moved = replace(
        state,
        points=state.points.scatter(1, features, after),
        changed=state.changed.scatter(1, features, state.changed.gather(1, features) | taken),
        steps=state.steps + 1,
    )
    return moved, taken.any(1)


def _next_attempt(state: _State, clean: Tensor, stuck: Tensor) -> tuple[_State, Tensor]:
    """Where a tile is stuck: start again with the next class, if there is one; the second result says where."""
    again = stuck & (state.attempt + 1 < state.aims.shape[1])
    fresh = again[:, None]
    state = replace(
        state,
        points=torch.where(fresh, clean, state.points),
        changed=state.changed & ~fresh,
        pairs=torch.where(again, 1.0, state.pairs),
        lead=torch.where(again, torch.inf, state.lead),
        steps=state.steps.masked_fill(again, 0),
        attempt=state.attempt + again.long(),
    )
    return state, again
