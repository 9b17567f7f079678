"""The restoration of features that a sparse perturbation does not need."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from raypipe.attacks.engine.active import keep, run_active
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.victim import Victim


@dataclass(frozen=True)
class _Bisection:
    """State of a bisection of the number of changes to restore, cheapest first: `low` is possible, `high` is not."""

    rows: Tensor
    points: Tensor
    """(n, channels, h, w) points at the beginning of the round."""
    rank: Tensor
    """(n, channels, h, w) position of each feature in the order of restoration; unchanged features come last."""
    low: Tensor
    high: Tensor


def prune(victim: Victim, images: Tensor, adversarial: Tensor, goal: Goal, rounds: int) -> Tensor:
    """Restore the changed features that turn out to be unneeded.

    The order is that of the linear model at the adversarial image: first the changes that hinder, then those that help
    least. A bisection finds the number of changes to restore. Further rounds order the remaining changes again, as long
    as a round restores some.

    Parameters
    ----------
    victim
        The frozen model. A round costs a forward and a backward pass, and a forward pass for each halving.
    images
        (n, channels, h, w), float32 in [0, 1]: the clean images.
    adversarial
        Adversarial images like `images`. Tiles that do not reach the goal by more than float noise stay unchanged.
    goal
        Goal that the tiles must still reach.
    rounds
        Largest number of rounds.

    Returns
    -------
    torch.Tensor
        Images like `adversarial`; each value is the adversarial or the clean one.
    """
    result = adversarial.clone()
    rows = victim.rows()
    for _ in range(rounds):
        before = _find_changes(images, result)
        _restore(victim, images, result, goal, rows)
        rows = rows[(_find_changes(images, result) < before)[rows]]
    return result


def _find_changes(images: Tensor, others: Tensor) -> Tensor:
    return (images != others).flatten(1).sum(1)


def _rank_changes(worth: Tensor, changed: Tensor) -> Tensor:
    """Return the position of each changed feature in rising order of its worth; unchanged features come last.

    Only the changed features are sorted, because they are few.

    Parameters
    ----------
    worth
        (n, features) values to order by; equal ones stay in the order of the features.
    changed
        (n, features) booleans.

    Returns
    -------
    torch.Tensor
        (n, features) positions, from 0; the number of features for an unchanged feature.
    """
    rows, features = changed.nonzero(as_tuple=True)
    counts = changed.sum(1)
    columns = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    packed = worth.new_full((len(worth), int(counts.max())), torch.inf)
    packed[rows, columns] = worth[rows, features]
    order = packed.argsort(dim=1, stable=True)
    positions = torch.empty_like(order).scatter_(
        1, order, torch.arange(packed.shape[1], device=order.device).expand_as(order)
    )
    rank = torch.full_like(worth, worth.shape[1], dtype=torch.long)
    rank[rows, features] = positions[rows, columns]
    return rank


def _restore(victim: Victim, images: Tensor, result: Tensor, goal: Goal, rows: Tensor) -> None:
    """Run one round, in place."""

    def start(rows: Tensor) -> _Bisection:
        points = result[rows].requires_grad_()
        count = _find_changes(images[rows], points.detach())
        state = _Bisection(rows, points.detach(), torch.zeros_like(points, dtype=torch.long), count * 0, count)
        state = keep(state, count > 1)
        if not len(state.rows):
            return state
        points = state.points.clone().requires_grad_()
        logits = victim.logits(points, state.rows)
        reached = goal.clearly_reached(logits, state.rows)
        if not bool(reached.any()):
            return keep(state, reached)
        leads = goal.lead(logits, state.rows)[reached]
        gradient = victim.gradient(leads.sum(), points, state.rows[reached])
        change = state.points - images[state.rows]
        # This is the fall of the lead for each change. The smallest values, also negative ones, are restored first.
        rank = _rank_changes((-gradient * change).flatten(1), (change != 0).flatten(1))
        return keep(replace(state, rank=rank.view_as(change)), reached)

    def step(state: _Bisection) -> _Bisection:
        middle = (state.low + state.high) // 2
        restored = state.rank < middle.view(-1, 1, 1, 1)
        candidates = torch.where(restored, images[state.rows], state.points)
        with torch.no_grad():
            still = goal.clearly_reached(victim.logits(candidates, state.rows), state.rows)
        result[state.rows[still]] = candidates[still]
        low, high = torch.where(still, middle, state.low), torch.where(still, state.high, middle)
        return keep(replace(state, low=low, high=high), high - low > 1)

    run_active(victim, rows, start, step)
