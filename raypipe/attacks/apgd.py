"""Auto-PGD, APGD (Croce and Hein, 2020, arXiv:2003.01690): gradient ascent that finds its step size by itself.

At a checkpoint the attack halves a tile's step size if the steps since the last checkpoint gained too little. The
search then continues from the best point. Every tile has its own step size, counters and checkpoints.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from raypipe.attacks.base import Attack
from raypipe.attacks.engine.active import keep, predict_clean, run_active
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.headway import count_one_round
from raypipe.attacks.engine.losses import Strongest, cross_entropy, difference_of_logits_ratio
from raypipe.attacks.engine.norms import IterativeAttack, draw_points, normalize, project
from raypipe.attacks.engine.targets import find_likeliest_wrong
from raypipe.attacks.engine.tensors import per_tile
from raypipe.attacks.engine.victim import Victim


class AutoProjectedGradient(IterativeAttack):
    """Settings of `auto_projected_gradient`, beside those of `raypipe.attacks.engine.norms.IterativeAttack`.

    Parameters
    ----------
    max_iterations
        Number of steps of a run.
    restarts
        Largest number of runs; with `targets`, of runs for each target. Each run starts at another random point of the
        ball, drawn from the seed and the pixels.
    loss
        Loss that the attack maximizes: ``cross_entropy``, or the difference of logits ratio ``dlr``. The ratio does not
        change when the logits are scaled. It needs 3 classes, or 4 if runs aim at a class.
    targets
        Largest number of wrong classes to aim at. Each run aims at one, the likeliest first, and any wrong class still
        counts as success. This is APGD-T. With 0 the runs lead away from the true class.
    initial_step
        First step size, in multiples of eps; only halving changes it. The published value is 2, which reaches the edge
        of the ball at once on a smooth network. On a jagged network, steps of 0.25 follow the loss better.
    momentum
        Weight of the new step, in (0, 1]. The last step has the rest of the weight.
    rho
        Share of steps, in (0, 1). The step size stays if more than this share of the steps since the last checkpoint
        raised the loss.
    """

    name: Literal["apgd"] = "apgd"
    max_iterations: int = Field(100, ge=1)
    restarts: int = Field(1, ge=1)
    loss: Literal["cross_entropy", "dlr"] = "cross_entropy"
    targets: int = Field(0, ge=0)
    initial_step: float = Field(2.0, gt=0, le=2)
    momentum: float = Field(0.75, gt=0, le=1)
    rho: float = Field(0.75, gt=0, lt=1)

    @model_validator(mode="after")
    def _one_kind_of_target(self) -> Self:
        if self.targets and self.target is not None:
            raise ValueError(f"targets = {self.targets}: `target: {self.target}` is a single target; remove either")
        return self


@dataclass(frozen=True)
class _State:
    """State of the tiles that the attack still moves, with one entry per tile."""

    rows: Tensor
    clean: Tensor
    points: Tensor
    previous: Tensor
    """Points before the last step."""
    best_points: Tensor
    best_gradients: Tensor
    best_loss: Tensor
    loss: Tensor
    """Loss at the previous points."""
    steps: Tensor
    """Number of steps taken so far."""
    step_size: Tensor
    rises: Tensor
    """Number of steps since the last checkpoint that raised the loss."""
    checked_loss: Tensor
    """Best loss at the last checkpoint."""
    halved: Tensor
    """True where the last checkpoint halved the step size."""


_Loss = Callable[[Tensor, Tensor], Tensor]
"""Loss that a run maximizes: (logits, rows) -> (n,)."""


def auto_projected_gradient(victim: Victim, images: Tensor, goal: Goal, settings: AutoProjectedGradient) -> Tensor:
    """Return the points that maximize a loss within a ball around each image.

    Parameters
    ----------
    victim
        The frozen model.
    images
        (n, channels, h, w), float32 in [0, 1].
    goal
        True classes to leave, or target classes to reach.
    settings
        Settings of the ball, the steps and the loss.

    Returns
    -------
    torch.Tensor
        Adversarial images like `images`, in [0, 1] and in the ball. A tile that already reaches the goal is returned
        unchanged. Where the attack fails, it returns the point with the largest loss.

    Raises
    ------
    ValueError
        If the loss is ``dlr`` and the model has too few classes.

    References
    ----------
    Croce and Hein, 2020, arXiv:2003.01690, algorithm 1 and section 4.
    """
    logits = predict_clean(victim, images)
    best, standing = Strongest(images), ~goal.reached(logits, victim.rows())
    intervals = _schedule_checkpoints(settings.max_iterations).to(images.device)

    def start(rows: Tensor, run: int) -> _State:
        points = draw_points(images[rows], settings.eps, settings.norm, key=f"{settings.seed} {run}")
        return _begin(rows, images[rows], points, settings.initial_step * settings.eps)

    def step(state: _State, loss: _Loss) -> _State:
        points = state.points.detach().requires_grad_()
        logits = victim.logits(points, state.rows)
        losses = loss(logits, state.rows)
        fooled = goal.clearly_reached(logits, state.rows)
        best.offer(state.rows, points.detach(), losses.detach(), fooled)
        going = ~(fooled & settings.early_stop) & (state.steps < settings.max_iterations)
        if not bool(going.any()):
            return keep(state, going)
        gradients = victim.gradient(losses[going].sum(), points, state.rows[going])
        state = _weigh(state, losses.detach(), gradients)
        state, gradients = _check(state, gradients, intervals[state.steps], settings.rho)
        return keep(_move(state, gradients, settings), going)

    def spent(state: _State) -> Tensor:
        return state.steps / settings.max_iterations

    losses_by_run = _list_losses(goal, logits, settings)
    for run, loss in enumerate(losses_by_run):
        rows = (standing & ~(best.fooled & settings.early_stop)).nonzero()[:, 0]
        with count_one_round(
            len(images) - len(rows), len(rows), run / len(losses_by_run), (run + 1) / len(losses_by_run)
        ):
            run_active(victim, rows, partial(start, run=run), partial(step, loss=loss), spent)
    return best.images


ATTACK = Attack(AutoProjectedGradient, auto_projected_gradient)


def list_checkpoints(max_iterations: int) -> list[int]:
    """Return the numbers of steps after which the attack checks the step sizes.

    Parameters
    ----------
    max_iterations
        Number of steps of a run. The intervals shrink from 22 % to 6 % of it.
    """
    percent = [0, 22]
    while percent[-1] < 100:
        percent.append(percent[-1] + max(percent[-1] - percent[-2] - 3, 6))
    return sorted({-(-share * max_iterations // 100) for share in percent[1:-1]})


def _list_losses(goal: Goal, logits: Tensor, settings: AutoProjectedGradient) -> list[_Loss]:
    """Return the loss of each run, in the order of the runs."""
    labels = logits.argmax(1) if goal.targeted else goal.classes
    aims = [goal]
    if settings.targets:
        likeliest = find_likeliest_wrong(logits, goal.classes, settings.targets)
        aims = [Goal(classes, targeted=True) for classes in likeliest.unbind(1)]

    def loss(logits: Tensor, rows: Tensor, aim: Goal) -> Tensor:
        if settings.loss == "cross_entropy":
            return cross_entropy(logits, aim, rows)
        targets = aim.classes[rows] if aim.targeted else None
        return difference_of_logits_ratio(logits, labels[rows], targets)

    return [partial(loss, aim=aim) for aim in aims for _ in range(settings.restarts)]


def _schedule_checkpoints(max_iterations: int) -> Tensor:
    """Return, for each number of steps, the steps since the last checkpoint where it is a checkpoint, else 0."""
    ends = torch.tensor(list_checkpoints(max_iterations))
    intervals = ends.diff(prepend=torch.zeros_like(ends[:1]))
    return torch.zeros(max_iterations + 1, dtype=torch.long).index_copy(0, ends, intervals)


def _begin(rows: Tensor, clean: Tensor, points: Tensor, step_size: float) -> _State:
    nothing_yet = torch.full_like(clean[:, 0, 0, 0], -torch.inf)
    return _State(
        rows=rows,
        clean=clean,
        points=points,
        previous=points,
        best_points=points,
        best_gradients=torch.zeros_like(points),
        best_loss=nothing_yet,
        loss=nothing_yet,
        steps=torch.zeros_like(rows),
        step_size=torch.full_like(nothing_yet, step_size),
        rises=torch.zeros_like(rows),
        checked_loss=nothing_yet,
        halved=torch.zeros_like(rows, dtype=torch.bool),
    )


def _weigh(state: _State, losses: Tensor, gradients: Tensor) -> _State:
    """Count the steps that raised the loss, and remember the best points."""
    better = losses > state.best_loss
    image_better, first = per_tile(better, state.points), state.steps == 0
    return replace(
        state,
        best_points=torch.where(image_better, state.points, state.best_points),
        best_gradients=torch.where(image_better, gradients, state.best_gradients),
        best_loss=torch.where(better, losses, state.best_loss),
        loss=losses,
        rises=state.rises + (~first & (losses > state.loss)).long(),
        checked_loss=torch.where(first, losses, state.checked_loss),
    )


def _check(state: _State, gradients: Tensor, interval: Tensor, rho: float) -> tuple[_State, Tensor]:
    """Halve the step of each tile that improved too slowly at its checkpoint, and return it to its best point."""
    checking = interval > 0
    stuck = ~state.halved & (state.best_loss <= state.checked_loss)
    # The authors' code also halves the step where the share equals `rho`. The paper keeps the step size there.
    halving = checking & ((state.rises <= rho * interval) | stuck)
    back = per_tile(halving, state.points)
    checked = replace(
        state,
        points=torch.where(back, state.best_points, state.points),
        step_size=torch.where(halving, state.step_size / 2, state.step_size),
        rises=state.rises.masked_fill(checking, 0),
        checked_loss=torch.where(checking, state.best_loss, state.checked_loss),
        halved=torch.where(checking, halving, state.halved),
    )
    return checked, torch.where(back, state.best_gradients, gradients)


def _move(state: _State, gradients: Tensor, settings: AutoProjectedGradient) -> _State:
    """Take one step along the gradient, with momentum from the second step on."""
    size = per_tile(state.step_size, gradients)
    new = state.points + size * normalize(gradients, settings.norm)
    new = project(new, state.clean, settings.eps, settings.norm) - state.points
    weight = per_tile(torch.where(state.steps == 0, 1.0, settings.momentum), gradients)
    step = weight * new + (1 - weight) * (state.points - state.previous)
    return replace(
        state,
        points=project(state.points + step, state.clean, settings.eps, settings.norm),
        previous=state.points,
        steps=state.steps + 1,
    )
