"""Saliency map attack, JSMA (Papernot et al., 2016, arXiv:1511.07528): change the few features that matter most.

The paper publishes the pair rule, with one pair per step. The Adversarial Robustness Toolbox has another rule: the two
features with the largest gradient of the target's logit (its issue 2306). The defaults here are not published. The
number of pairs per step grows, which turns hundreds of steps into a dozen. Features that turn out to be unneeded are
restored.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from raypipe.attacks.base import Attack, Target, TargetedAttack
from raypipe.attacks.engine.active import keep, run_active
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.prune import prune
from raypipe.attacks.engine.salient_pairs import find_best_pair
from raypipe.attacks.engine.targets import draw_targets
from raypipe.attacks.engine.victim import Victim
from raypipe.base.norms import AnyNorm

CAREFUL = 60
"""Number of careful steps at the start of an attempt. In these steps the number of pairs falls back to one after a step
that did not help. Beyond the first pair, only pairs that help are taken. Later the number always grows. Otherwise tiles
that are hard to fool would take thousands of steps with one pair each, usually with the same result. A network that has
hardly learned anything has such tiles. An attempt that succeeds after the careful steps may change more features: 5 to
8 % in the mean on an erratic ShuffleNet."""


class SaliencyMap(TargetedAttack):
    """Settings of `saliency_map`.

    Parameters
    ----------
    rule
        Rule that selects the features. ``art`` selects those with the largest gradient of the target class's logit, as
        the Adversarial Robustness Toolbox does. ``pair`` is the published rule, which costs twice the backward passes.
    theta
        Change of a feature each time the attack selects it, -1 to 1 and not 0. The attack can select a feature until it
        is saturated.
    gamma
        Share of the features that may change, in (0, 1]. As in the toolbox, the last step may exceed it by up to two
        features.
    growth
        Factor by which the number of pairs per step grows after each step that brings the goal nearer. Early in an
        attempt the number falls back to one after each step that does not. 1 means one pair per step, as published.
    aim
        Class to raise where any wrong class counts as success: the ``runner_up`` on the clean image, or a ``random``
        wrong class, drawn from the seed and the pixels. With a `target`, the attack raises that class.
    attempts
        Largest number of attempts with ``aim: runner_up``. Where an attempt cannot reach the likeliest wrong class, the
        next one starts again with the next class.
    prune
        Number of rounds that restore the features that are not needed; 0 means none, as published.
    max_iterations
        Largest number of steps of an attempt. Only a small growth or theta reaches it.
    """

    name: Literal["saliency_map"] = "saliency_map"
    minimizes: ClassVar[AnyNorm] = "l0"
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
    """State of the tiles that do not reach their goal yet, with flattened features."""

    rows: Tensor
    points: Tensor
    changed: Tensor
    """(n, features) booleans, True for changed features."""
    pairs: Tensor
    """(n,) number of pairs to take in the next step; it is rounded down for use."""
    lead: Tensor
    """(n,) lead of the current class before the last step; infinite at first."""
    steps: Tensor
    """Number of steps taken in this attempt."""
    attempt: Tensor
    aims: Tensor
    """(n, attempts) classes to raise, in the order of the attempts; no columns before the first pass."""


def saliency_map(victim: Victim, images: Tensor, goal: Goal, settings: SaliencyMap) -> Tensor:
    """Raise or lower the most salient features, pair by pair, until the image reaches the goal.

    Parameters
    ----------
    victim
        The frozen model.
    images
        (n, channels, h, w), float32 in [0, 1]. Every channel value is a feature.
    goal
        True classes to leave, or target classes to reach.
    settings
        Settings of the rule, the steps and the budget.

    Returns
    -------
    torch.Tensor
        Adversarial images like `images`, in [0, 1]. A tile that already reaches the goal is returned unchanged. A tile
        on which the attack fails is returned at its last point.

    References
    ----------
    Papernot et al., 2016, arXiv:1511.07528, algorithms 2 and 3. With ``rule: art``, ``growth: 1`` and ``prune: 0`` the
    attack is `SaliencyMapMethod` of the Adversarial Robustness Toolbox 1.20, except that it stops where no gradient is
    left.
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
            state = replace(state, aims=_list_aims(images[state.rows], goal, state.rows, logits.detach(), settings))
        state = _set_pace(state, goal.lead(logits.detach(), state.rows), settings)
        standing = ~goal.reached(logits, state.rows)
        going = standing & (state.steps < settings.max_iterations) & (state.changed.sum(1) <= allowed)
        result[state.rows] = points.detach()
        if bool(going.any()):
            aims = state.aims.gather(1, state.attempt[:, None])
            features, taken = _find_salient(victim, state, points, logits, aims, going, settings)
            state, moved = _move(state, features, taken, settings, allowed)
            going &= moved
        state, again = _start_next_attempt(state, images[state.rows].flatten(1), standing & ~going)
        return keep(state, going | again)

    run_active(victim, victim.rows(), start, step)
    return prune(victim, images, result, goal, settings.prune) if settings.prune else result


ATTACK = Attack(SaliencyMap, saliency_map)


def _list_aims(images: Tensor, goal: Goal, rows: Tensor, logits: Tensor, settings: SaliencyMap) -> Tensor:
    """Return the classes to raise, (n, attempts)."""
    classes, labels = logits.shape[1], goal.classes[rows]
    if goal.targeted:
        return labels[:, None]
    if settings.aim == "random":
        return draw_targets(images, labels, classes, settings.seed)[:, None]
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.topk(min(settings.attempts, classes - 1), dim=1).indices


def _set_pace(state: _State, lead: Tensor, settings: SaliencyMap) -> _State:
    """Set the number of pairs of the next step: more after a step that helped or late in an attempt, otherwise one.

    Some models are so nonlinear that large steps do not help. Growth alone would change every feature of a tile that
    needs ten changes.
    """
    grown = (settings.growth * state.pairs).clamp_max(state.points.shape[1])
    first = state.steps == 0
    helped = (lead < state.lead) | (state.steps > CAREFUL)
    pairs = torch.where(first, state.pairs, torch.where(helped, grown, torch.ones_like(grown)))
    return replace(state, pairs=pairs, lead=lead)


def _find_salient(
    victim: Victim,
    state: _State,
    points: Tensor,
    logits: Tensor,
    aims: Tensor,
    going: Tensor,
    settings: SaliencyMap,
) -> tuple[Tensor, Tensor]:
    """Return the most salient movable features, (n, most), and booleans, True for those that each tile takes."""
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
            features[single, :2], found = find_best_pair(target[single], others[single], movable[single])
            taken[single] = found[:, None] & (first < 2)
        return features, taken
    # As in the toolbox, the first pair may have any sign. Further pairs must help, except late in an attempt.
    late = (state.steps > CAREFUL)[:, None] & (settings.growth > 1)
    return features, taken & ((first < 2) | (score > 0) | late) & target.any(1, keepdim=True)


def _move(state: _State, features: Tensor, taken: Tensor, settings: SaliencyMap, allowed: int) -> tuple[_State, Tensor]:
    """Move the selected features, and return the state with (n,) booleans, True for tiles that have such features."""
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


def _start_next_attempt(state: _State, clean: Tensor, stuck: Tensor) -> tuple[_State, Tensor]:
    """Restart each stuck tile with its next class, if there is one, and return (n,) booleans, True for restarts."""
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
