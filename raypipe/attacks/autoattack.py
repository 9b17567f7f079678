"""AutoAttack (Croce and Hein, 2020, arXiv:2003.01690): four attacks, each on the tiles that are still correct.

The standard ensemble consists of APGD on the cross-entropy, APGD with targets on the difference of logits ratio, FAB
with targets, and the Square Attack. The Square Attack needs no gradients. All four are raypipe's own implementations.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor

from raypipe.attacks.apgd import AutoProjectedGradient, auto_projected_gradient
from raypipe.attacks.base import Attack
from raypipe.attacks.engine.active import predict, predict_clean
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.headway import count_one_round
from raypipe.attacks.engine.losses import Strongest, margin
from raypipe.attacks.engine.norms import IterativeAttack
from raypipe.attacks.engine.victim import Victim
from raypipe.attacks.fab import FastAdaptiveBoundary, fast_adaptive_boundary
from raypipe.attacks.square import SquareAttack, square_attack
from raypipe.base.settings import Settings

APGD = Attack(AutoProjectedGradient, auto_projected_gradient)
FAB = Attack(FastAdaptiveBoundary, fast_adaptive_boundary)
SQUARE = Attack(SquareAttack, square_attack)
Member = AutoProjectedGradient | FastAdaptiveBoundary | SquareAttack
"""Settings of an attack of the ensemble."""


class EnsembleBudget(Settings):
    """Budget of the ensemble; the defaults are those of the standard ensemble.

    Parameters
    ----------
    max_iterations
        Number of steps of each run of APGD and FAB.
    max_queries
        Number of queries of each run of the Square Attack.
    targets
        Number of wrong classes that APGD and FAB aim at, the likeliest first. With fewer classes they aim at all wrong
        ones.
    restarts
        Number of runs of each attack; for attacks with targets, number of runs for each target.
    """

    max_iterations: int = Field(100, ge=1)
    max_queries: int = Field(5000, ge=1)
    targets: int = Field(9, ge=1)
    restarts: int = Field(1, ge=1)


class AutoAttack(EnsembleBudget, IterativeAttack):
    """Settings of `autoattack`: those of `EnsembleBudget` and of `raypipe.attacks.engine.norms.IterativeAttack`.

    Each attack of the ensemble takes the tiles on which the previous attacks failed. Without `early_stop`, an attack
    spends its whole budget on every tile that it takes; the standard ensemble stops early.
    """

    name: Literal["autoattack"] = "autoattack"


def autoattack(victim: Victim, images: Tensor, goal: Goal, settings: AutoAttack) -> Tensor:
    """Run four attacks within a ball around each image, one after the other.

    Parameters
    ----------
    victim
        The frozen model. With fewer than 4 classes, the ratio of APGD with targets is undefined, and the cross-entropy
        of the targets replaces it. The authors' code stops with an error there.
    images
        (n, channels, h, w), float32 in [0, 1].
    goal
        True classes to leave, or target classes to reach. The standard ensemble has no targeted goal; here each attack
        then aims at the target classes.
    settings
        Settings of the ball and the budget.

    Returns
    -------
    torch.Tensor
        Adversarial images like `images`, in [0, 1] and in the ball. A tile that already reaches the goal is returned
        unchanged. Where all attacks fail, the result is the point with the largest margin.

    References
    ----------
    Croce and Hein, 2020, arXiv:2003.01690, section 5.
    """
    best, rows = Strongest(images), victim.rows()
    logits = predict_clean(victim, images)
    standing = ~goal.reached(logits, rows)
    ensemble = list(_list_members(settings, logits.shape[1], goal.targeted))
    shares = itertools.pairwise(_add_up_costs([own for _, own in ensemble], logits.shape[1]))
    for (attack, own), (before, after) in zip(ensemble, shares, strict=True):
        rows = (standing & ~best.fooled).nonzero()[:, 0]
        if not len(rows):
            break
        part = victim.part(rows)
        with count_one_round(len(images) - len(rows), len(rows), before, after):
            found = attack.generate(part, images[rows], goal.part(rows), own)
        answers = predict(part, found, part.rows())
        victim.add(part, rows)
        best.offer(rows, found, margin(answers, goal, rows), goal.clearly_reached(answers, rows))
    return best.images


ATTACK = Attack(AutoAttack, autoattack)


def _list_members(settings: AutoAttack, classes: int, aimed: bool) -> Iterator[tuple[Attack, Member]]:
    """Yield the attacks and their settings in the published order. No two of them draw the same start."""
    ball = {"norm": settings.norm, "eps": settings.eps}
    runs = ball | {"max_iterations": settings.max_iterations, "restarts": settings.restarts}
    climbs = runs | {"early_stop": settings.early_stop}
    targets = 0 if aimed else settings.targets
    loss = "dlr" if classes >= 4 else "cross_entropy"
    yield APGD, AutoProjectedGradient(**climbs, seed=settings.seed)
    yield APGD, AutoProjectedGradient(**climbs, seed=settings.seed + 1, loss=loss, targets=targets)
    yield FAB, FastAdaptiveBoundary(**runs, seed=settings.seed, targets=targets)
    square = ball | {"max_queries": settings.max_queries, "restarts": settings.restarts}
    square |= {"early_stop": settings.early_stop}
    yield SQUARE, SquareAttack(**square, seed=settings.seed)


def _add_up_costs(ensemble: Sequence[Member], classes: int) -> list[float]:
    """Return the share of the ensemble's passes on a tile before its first attack, between the attacks, and in the end.

    A backward pass takes as long as two forward passes.
    """

    def count_passes(own: Member) -> int:
        if isinstance(own, SquareAttack):
            return own.max_queries * own.restarts
        return 3 * own.max_iterations * own.restarts * max(1, min(own.targets, classes - 1))

    costs = list(itertools.accumulate(map(count_passes, ensemble), initial=0))
    return [cost / costs[-1] for cost in costs]
