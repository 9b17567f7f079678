"""Projected gradient descent, PGD (Madry et al., 2018, arXiv:1706.06083): small steps, kept within the ball.

One forward pass serves the success test and the gradient.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from raypipe.attacks.base import Attack
from raypipe.attacks.engine.active import keep, predict_clean, run_active
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.headway import count_one_round
from raypipe.attacks.engine.losses import Strongest, cross_entropy, margin
from raypipe.attacks.engine.norms import IterativeAttack, draw_points, normalize, project
from raypipe.attacks.engine.victim import Victim

REACH = 2.5
"""Length of all steps together, in radii. It suffices to cross the ball and to turn back, as in the authors' code."""
LOSSES = {"cross_entropy": cross_entropy, "margin": margin}


class ProjectedGradient(IterativeAttack):
    """Settings of `projected_gradient`, beside those of `raypipe.attacks.engine.norms.IterativeAttack`.

    Parameters
    ----------
    step_size
        Length of a step in the attack's norm, as a share of `eps`. None means `REACH` divided by `max_iterations`, so
        that more steps are shorter.
    max_iterations
        Number of steps of a run.
    restarts
        Largest number of runs. Runs after the first start at random points of the ball, drawn from the seed and the
        pixels.
    random_start
        True if the first run also starts at a random point, instead of at the image.
    loss
        Loss that the attack maximizes: the ``cross_entropy``, or the ``margin`` of logits of Carlini and Wagner.
    """

    name: Literal["pgd"] = "pgd"
    step_size: float | None = Field(None, gt=0)
    max_iterations: int = Field(40, ge=1)
    restarts: int = Field(1, ge=1)
    random_start: bool = False
    loss: Literal["cross_entropy", "margin"] = "cross_entropy"


@dataclass(frozen=True)
class _State:
    """State of the tiles that the attack still moves."""

    rows: Tensor
    clean: Tensor
    points: Tensor
    steps: Tensor
    """Number of steps taken in this run."""


def projected_gradient(victim: Victim, images: Tensor, goal: Goal, settings: ProjectedGradient) -> Tensor:
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

    References
    ----------
    Madry et al., 2018, arXiv:1706.06083, section 2.1.
    """
    best, step_size = Strongest(images), settings.step_size or REACH / settings.max_iterations
    standing = torch.ones_like(best.fooled)
    if settings.random_start:
        standing = ~goal.reached(predict_clean(victim, images), victim.rows())

    def start(rows: Tensor, run: int) -> _State:
        clean = points = images[rows]
        if run or settings.random_start:
            points = draw_points(clean, settings.eps, settings.norm, key=f"{settings.seed} {run}")
        return _State(rows, clean, points, torch.zeros_like(rows))

    def step(state: _State, run: int) -> _State:
        points = state.points.detach().requires_grad_()
        logits = victim.logits(points, state.rows)
        loss = LOSSES[settings.loss](logits, goal, state.rows)
        fooled = goal.clearly_reached(logits, state.rows)
        best.offer(state.rows, points.detach(), loss.detach(), fooled)
        done = (fooled & settings.early_stop) | (state.steps >= settings.max_iterations)
        if run == 0 and not settings.random_start:
            misclassified = goal.reached(logits, state.rows) & (state.steps == 0)
            standing[state.rows[misclassified]] = False
            done |= misclassified
        if bool(done.all()):
            return keep(state, ~done)
        gradients = victim.gradient(loss[~done].sum(), points, state.rows[~done])
        stepped = points.detach() + step_size * settings.eps * normalize(gradients, settings.norm)
        stepped = project(stepped, state.clean, settings.eps, settings.norm)
        return keep(replace(state, points=stepped, steps=state.steps + 1), ~done)

    for run in range(settings.restarts):
        rows = (standing & ~(best.fooled & settings.early_stop)).nonzero()[:, 0]
        with count_one_round(
            len(images) - len(rows), len(rows), run / settings.restarts, (run + 1) / settings.restarts
        ):
            run_active(victim, rows, partial(start, run=run), partial(step, run=run))
    return best.images


ATTACK = Attack(ProjectedGradient, projected_gradient)
