"""Fast adaptive boundary attack, FAB (Croce and Hein, 2020, arXiv:1907.02044): minimal perturbations in linf or l2.

Each iteration projects the point and the clean image onto the linearised boundary, inside the box, and goes to a
mixture of both, a little beyond. A point that fools the model is drawn back towards the clean image, and the search
goes on from there.

A tile's own forward pass serves the success test and, unless it is drawn back, the next gradient too; the authors' code
has two in every iteration. The published final search along the line to the clean image is left out, as in AutoAttack.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from raypipe.attacks.base import AnyNorm, Ball, Norm, TargetedAttack
from raypipe.attacks.engine.active import keep, predict, run_active
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.hyperplane import to_hyperplane
from raypipe.attacks.engine.norms import project, refuse_unscaled, sizes, unit_ball_draws
from raypipe.attacks.engine.targets import likeliest_wrong
from raypipe.attacks.engine.tensors import TINY, per_tile
from raypipe.attacks.engine.victim import Victim
from raypipe.base.settings import Ratio

FARTHEST_START: dict[Norm, float] = {"linf": 0.3, "l2": 1.0}
"""Restarts begin within half of this radius, or of the shortest result's if that is less."""
DUAL: dict[Norm, float] = {"linf": 1, "l2": 2}
"""In which gradients are measured, so that a lead by its length is the distance to the boundary."""


class FastAdaptiveBoundary(TargetedAttack):
    """Settings of `fast_adaptive_boundary`.

    Parameters
    ----------
    norm
        What is minimised.
    eps
        None: the attack is minimal. Otherwise a bound, in the sense of `raypipe.attacks.engine.norms.BoundedAttack`: a
        tile is done at the first success within it, and nothing beyond it counts.
    targets
        0: iterations go to the nearest boundary, for a backward pass a class. Otherwise to that of one wrong class, the
        likeliest ones one after the other, this many at most; any wrong class still counts as success. This is FAB-T.
    max_iterations
        Of a run.
    restarts
        Runs; with `targets`, for each target. Those after the first start at random points, drawn from seed and pixels.
    alpha_max
        Largest weight of the clean image's projection in the mixture.
    eta
        Stretch of the projections, which end beyond the boundary.
    beta
        What is left of a perturbation when a point is drawn back.
    """

    name: Literal["fab"] = "fab"
    norm: Norm = "linf"
    eps: Annotated[Ratio, Field(gt=0)] | None = None
    targets: int = Field(0, ge=0)
    max_iterations: int = Field(100, ge=1)
    restarts: int = Field(1, ge=1)
    alpha_max: float = Field(0.1, ge=0, le=1)
    eta: float = Field(1.05, ge=1)
    beta: float = Field(0.9, gt=0, lt=1)

    @property
    def ball(self) -> Ball | None:
        """The bound, if there is one."""
        return None if self.eps is None else Ball(self.norm, self.eps)

    @property
    def minimises(self) -> AnyNorm:
        """What the settings say."""
        return self.norm

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.eps is not None:
            refuse_unscaled(self.eps, self.norm)
        if self.targets and self.target is not None:
            raise ValueError(f"targets = {self.targets}: with `target: {self.target}` there is but one; drop either")
        return self


@dataclass(frozen=True)
class _State:
    """Tiles that are still moved."""

    rows: Tensor
    clean: Tensor
    points: Tensor
    drawn_back: Tensor
    """Whether the point is a success drawn back, from which the search goes on."""
    steps: Tensor
    """Taken in this run."""


def fast_adaptive_boundary(victim: Victim, images: Tensor, goal: Goal, settings: FastAdaptiveBoundary) -> Tensor:
    """Find short perturbations that reach the goal.

    Parameters
    ----------
    victim
        The frozen model.
    images
        (n, channels, h, w), float32 in [0, 1].
    goal
        The true classes, to be left; or targets to be reached, which the paper does not have: then the boundary is that
        between the target and the class that leads.
    settings
        Norm, bound and iterations.

    Returns
    -------
    torch.Tensor
        Like `images`, in [0, 1], and with `eps` in the ball. A tile that reaches the goal from the start comes back
        unchanged; one that could not be brought there comes back where it got to.

    References
    ----------
    Croce and Hein, 2020, arXiv:1907.02044, algorithm 1; FAB-T: arXiv:2003.01690.
    """
    logits = predict(victim, images, victim.rows())
    standing = ~goal.reached(logits, victim.rows())
    best = _Shortest(images, settings)
    aims: list[Tensor | None] = [None]
    if settings.targets:
        aims = list(likeliest_wrong(logits, goal.classes, settings.targets).unbind(1))

    def start(rows: Tensor, run: int, attempt: int) -> _State:
        points = images[rows]
        if attempt:
            draws = unit_ball_draws(points, settings.norm, key=f"fab {settings.seed} {run} {attempt}")
            points = (points + per_tile(best.radius(rows) / 2, draws) * draws).clamp(0, 1)
        return _State(rows, images[rows], points, torch.zeros_like(rows, dtype=torch.bool), torch.zeros_like(rows))

    def step(state: _State, aim: Tensor | None) -> _State:
        points = state.points.detach().requires_grad_()
        logits = victim.logits(points, state.rows)
        fooled = goal.reached(logits, state.rows)
        done = best.offer(state.rows, points.detach(), fooled) | (state.steps >= settings.max_iterations)
        back = fooled & ~state.drawn_back
        following, moving = torch.lerp(state.clean, points.detach(), settings.beta), ~back & ~done
        if bool(moving.any()):
            leads = _leads(logits, goal, state.rows, aim)
            lead, normals = _nearest(victim, leads, points, state.rows, moving, settings.norm)
            mixed = _mixture(points.detach(), state.clean, lead, normals, settings)
            following = torch.where(per_tile(back, mixed), following, mixed)
            # Where no gradient is left there is no direction to go, and the run ends.
            done |= moving & ~normals.flatten(1).any(1)
        moved = replace(state, points=following, drawn_back=back, steps=state.steps + moving.long())
        return keep(moved, ~done)

    for run, aim in enumerate(aims):
        for attempt in range(settings.restarts):
            rows = (standing & ~best.final).nonzero()[:, 0]
            run_active(victim, rows, partial(start, run=run, attempt=attempt), partial(step, aim=aim))
    return best.images


class _Shortest:
    """Of each tile's points: the shortest that reaches the goal, else the last one.

    Parameters
    ----------
    images
        (n, channels, h, w) clean.
    settings
        With a bound, points beyond it reach nothing, and the first within it will do.
    """

    def __init__(self, images: Tensor, settings: FastAdaptiveBoundary) -> None:
        self.images = images.clone()
        self._clean, self._norm, self._eps = images, settings.norm, settings.eps
        self._sizes = images.new_full((len(images),), torch.inf)

    @property
    def final(self) -> Tensor:
        """(n,) booleans: of which tiles no better point is looked for."""
        return self._sizes.isfinite() & (self._eps is not None)

    def radius(self, rows: Tensor) -> Tensor:
        """Within which shorter perturbations may lie, (n,)."""
        return self._sizes[rows].clamp_max(FARTHEST_START[self._norm] if self._eps is None else self._eps)

    def offer(self, rows: Tensor, points: Tensor, fooling: Tensor) -> Tensor:
        """Take those points that are better than what is known; (n,) booleans: which tiles are final."""
        clean, known = self._clean[rows], self._sizes[rows]
        found = sizes(points - clean, self._norm)
        if self._eps is not None:
            fooling = fooling & (found <= self._eps)
            points = project(points, clean, self._eps, self._norm)
        better = torch.where(fooling, found < known, known.isinf())
        self.images[rows[better]] = points[better]
        self._sizes[rows] = torch.where(fooling & better, found, known)
        return self.final[rows]


def _leads(logits: Tensor, goal: Goal, rows: Tensor, aim: Tensor | None) -> list[Tensor]:
    """How far each boundary that may be stepped over lies ahead, in logits, (n,) each; negative: behind."""
    if goal.targeted:
        return [goal.lead(logits, rows)]
    own = goal.classes[rows]
    others = [aim[rows]] if aim is not None else [(own + turn) % logits.shape[1] for turn in range(1, logits.shape[1])]
    return [(logits.gather(1, own[:, None]) - logits.gather(1, other[:, None]))[:, 0] for other in others]


def _nearest(
    victim: Victim, leads: list[Tensor], points: Tensor, rows: Tensor, moving: Tensor, norm: Norm
) -> tuple[Tensor, Tensor]:
    """Of each tile's boundaries the one nearest by its linearisation: its lead and the lead's gradient."""
    nearest = torch.full_like(leads[0], torch.inf).detach()
    lead, normals = torch.zeros_like(nearest), torch.zeros_like(points)
    for number, other in enumerate(leads, start=1):
        more = number < len(leads)
        gradient = victim.gradient(other[moving].sum(), points, rows[moving], retain_graph=more)
        slope = torch.linalg.vector_norm(gradient.flatten(1), ord=DUAL[norm], dim=1)
        distance = other.detach().abs() / slope.clamp_min(TINY)
        # A boundary without a gradient cannot be stepped to, however small the lead.
        nearer = (distance < nearest) & (slope > 0)
        nearest = torch.where(nearer, distance, nearest)
        lead = torch.where(nearer, other.detach(), lead)
        normals = torch.where(per_tile(nearer, normals), gradient, normals)
    return lead, normals.detach()


def _mixture(points: Tensor, clean: Tensor, lead: Tensor, normals: Tensor, settings: FastAdaptiveBoundary) -> Tensor:
    """Between the projections of the point and of the clean image, the nearer one counting more, a little beyond."""
    clean_lead = lead + (normals * (clean - points)).flatten(1).sum(1)
    moves = [to_hyperplane(begin, normals, -gap, settings.norm) for begin, gap in ((points, lead), (clean, clean_lead))]
    own, other = (sizes(move, settings.norm) for move in moves)
    weight = per_tile((own / (own + other).clamp_min(TINY)).clamp_max(settings.alpha_max), points)
    mixed = torch.lerp(points + settings.eta * moves[0], clean + settings.eta * moves[1], weight)
    return mixed.clamp(0, 1)
