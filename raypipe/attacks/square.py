"""Square Attack (Andriushchenko et al., 2020, arXiv:1912.00049): random search with windows of the image.

It uses logits and no gradients, so a model cannot resist it by hiding its gradients. A proposal changes one square
window. The attack keeps the proposal if it raises the margin. The windows shrink as the attack uses its queries.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from raypipe.attacks.base import Attack
from raypipe.attacks.engine.active import keep, predict_clean, run_active
from raypipe.attacks.engine.draws import make_generators
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.headway import count_one_round
from raypipe.attacks.engine.losses import Strongest, margin
from raypipe.attacks.engine.norms import IterativeAttack
from raypipe.attacks.engine.tensors import per_tile
from raypipe.attacks.engine.victim import Victim
from raypipe.attacks.engine.windows import Windows
from raypipe.base.threat import Knowledge


class SquareAttack(IterativeAttack):
    """Settings of `square_attack`, beside those of `raypipe.attacks.engine.norms.IterativeAttack`.

    Parameters
    ----------
    max_queries
        Number of forward passes of a run.
    p_init
        Share of the pixels in the first windows, in (0, 1]. A run halves it nine times, at the published shares of the
        queries.
    restarts
        Largest number of runs, each with other draws. The draws come from the seed and the pixels.
    """

    name: Literal["square"] = "square"
    knowledge: ClassVar[Knowledge] = "score-based"
    max_queries: int = Field(1000, ge=1)
    p_init: float = Field(0.8, gt=0, le=1)
    restarts: int = Field(1, ge=1)


@dataclass(frozen=True)
class _State:
    """State of the tiles that the attack still searches."""

    rows: Tensor
    clean: Tensor
    points: Tensor
    """Best points so far."""
    margins: Tensor
    """(n,) margins of the best points."""
    proposed: Tensor
    draws: Tensor
    """(n, max_queries, ...) uniform draws in [0, 1) for each proposal."""
    queries: Tensor
    """Number of queries made in this run."""


def square_attack(victim: Victim, images: Tensor, goal: Goal, settings: SquareAttack) -> Tensor:
    """Raise the margin of a wrong class within a ball around each image, with forward passes only.

    Parameters
    ----------
    victim
        The frozen model.
    images
        (n, channels, h, w), float32 in [0, 1].
    goal
        True classes to leave, or target classes to reach. For target classes the authors' code descends on the
        cross-entropy. Here the margin serves both goals.
    settings
        Settings of the ball and the queries.

    Returns
    -------
    torch.Tensor
        Adversarial images like `images`, in [0, 1] and in the ball. A tile that already reaches the goal is returned
        unchanged. Where the attack fails, it returns the point with the largest margin.

    References
    ----------
    Andriushchenko, Croce, Flammarion and Hein, 2020, arXiv:1912.00049, algorithms 1 to 3.
    """
    best = Strongest(images)
    standing = ~goal.reached(predict_clean(victim, images), victim.rows())
    windows = Windows(images, settings.eps, settings.norm, settings.max_queries, settings.p_init)

    def start(rows: Tensor, run: int) -> _State:
        clean, drawn = images[rows], make_generators(images[rows], key=f"square {settings.seed} {run}")
        first = torch.stack([torch.rand(windows.first_draws, generator=generator) for generator in drawn])
        draws = [torch.rand(settings.max_queries, windows.draws, generator=generator) for generator in drawn]
        return _State(
            rows=rows,
            clean=clean,
            points=clean,
            margins=torch.full_like(clean[:, 0, 0, 0], -torch.inf),
            proposed=windows.first(clean, first.to(clean.device)),
            draws=torch.stack(draws).to(clean.device),
            queries=torch.zeros_like(rows),
        )

    def step(state: _State) -> _State:
        with torch.no_grad():
            logits = victim.logits(state.proposed, state.rows)
        margins = margin(logits, goal, state.rows)
        fooled = goal.clearly_reached(logits, state.rows)
        best.offer(state.rows, state.proposed, margins, fooled)
        victim.note_success(state.rows[fooled])
        better = margins > state.margins
        state = replace(
            state,
            points=torch.where(per_tile(better, state.points), state.proposed, state.points),
            margins=torch.where(better, margins, state.margins),
            queries=state.queries + 1,
        )
        state = keep(state, ~(fooled & settings.early_stop) & (state.queries < settings.max_queries))
        drawn = state.draws[torch.arange(len(state.rows), device=state.rows.device), state.queries - 1]
        return replace(state, proposed=windows.propose(state.points, state.clean, state.queries - 1, drawn))

    def spent(state: _State) -> Tensor:
        return state.queries / settings.max_queries

    for run in range(settings.restarts):
        rows = (standing & ~(best.fooled & settings.early_stop)).nonzero()[:, 0]
        with count_one_round(
            len(images) - len(rows), len(rows), run / settings.restarts, (run + 1) / settings.restarts
        ):
            run_active(victim, rows, partial(start, run=run), step, spent)
    return best.images


ATTACK = Attack(SquareAttack, square_attack)
