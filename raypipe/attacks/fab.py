"""Fast adaptive boundary attack, FAB (Croce and Hein, 2020, arXiv:1907.02044): minimal perturbations in linf or l2.

Each iteration projects the point and the clean image onto the linearized boundary, inside the box. It moves to a
mixture of both projections, a little beyond the boundary. A point that fools the model is moved back toward the clean
image, and the search continues from there.

One forward pass serves the success test and, unless the point is moved back, also the next gradient. The authors' code
needs two in every iteration. As in AutoAttack, there is no final search along the line to the clean image, which the
paper has.
"""

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
from raypipe.attacks.engine.hyperplane import project_onto_hyperplane
from raypipe.attacks.engine.norms import MinimalAttack, draw_from_unit_ball, measure_sizes, project
from raypipe.attacks.engine.targets import find_likeliest_wrong
from raypipe.attacks.engine.tensors import TINY, per_tile
from raypipe.attacks.engine.victim import Victim
from raypipe.base.norms import Norm

FARTHEST_START: dict[Norm, float] = {"linf": 0.3, "l2": 1.0}
"""Radius by norm: restarts begin within half of it, or within half of the shortest result's length if that is less."""
DUAL: dict[Norm, float] = {"linf": 1, "l2": 2}
"""Order of the dual norm, in which gradients are measured. A lead divided by the length of its gradient is then the
distance to the boundary."""


class FastAdaptiveBoundary(MinimalAttack):
    """Settings of `fast_adaptive_boundary`, beside those of `raypipe.attacks.engine.norms.MinimalAttack`.

    Parameters
    ----------
    targets
        Largest number of wrong classes to aim at, one after the other, the likeliest first. Iterations then go to the
        boundary of that class, and any wrong class still counts as success. This is FAB-T. With 0 iterations go to the
        nearest boundary, which costs a backward pass per class.
    max_iterations
        Number of iterations of a run.
    restarts
        Number of runs; with `targets`, number of runs for each target. Runs after the first start at random points,
        drawn from the seed and the pixels.
    alpha_max
        Largest weight of the clean image's projection in the mixture, in [0, 1].
    eta
        Factor that stretches the projections, so that they end beyond the boundary; at least 1.
    beta
        Share of the perturbation that remains when a point is moved back, in (0, 1).
    """

    name: Literal["fab"] = "fab"
    targets: int = Field(0, ge=0)
    max_iterations: int = Field(100, ge=1)
    restarts: int = Field(1, ge=1)
    alpha_max: float = Field(0.1, ge=0, le=1)
    eta: float = Field(1.05, ge=1)
    beta: float = Field(0.9, gt=0, lt=1)

    @model_validator(mode="after")
    def _require_fit(self) -> Self:
        if self.targets and self.target is not None:
            raise ValueError(f"targets = {self.targets}: `target: {self.target}` is a single target; remove either")
        return self


@dataclass(frozen=True)
class _State:
    """State of the tiles that the attack still moves."""

    rows: Tensor
    clean: Tensor
    points: Tensor
    drawn_back: Tensor
    """True where the point is a success that was moved back; the search continues from it."""
    steps: Tensor
    """Number of steps taken in this run."""


def fast_adaptive_boundary(victim: Victim, images: Tensor, goal: Goal, settings: FastAdaptiveBoundary) -> Tensor:
    """Return images with short perturbations that reach the goal.

    Parameters
    ----------
    victim
        The frozen model.
    images
        (n, channels, h, w), float32 in [0, 1].
    goal
        True classes to leave, or target classes to reach. The paper has no targeted goal; here the boundary is then the
        one between the target and the leading class.
    settings
        Settings of the norm, the bound and the iterations.

    Returns
    -------
    torch.Tensor
        Adversarial images like `images`, in [0, 1], and with `eps` in the ball. A tile that already reaches the goal is
        returned unchanged. A tile on which the attack fails is returned at its last point.

    References
    ----------
    Croce and Hein, 2020, arXiv:1907.02044, algorithm 1; FAB-T: arXiv:2003.01690.
    """
    logits = predict_clean(victim, images)
    standing = ~goal.reached(logits, victim.rows())
    best = _Shortest(images, settings)
    aims: list[Tensor | None] = [None]
    if settings.targets:
        aims = list(find_likeliest_wrong(logits, goal.classes, settings.targets).unbind(1))

    def start(rows: Tensor, run: int, attempt: int) -> _State:
        points = images[rows]
        if attempt:
            draws = draw_from_unit_ball(points, settings.norm, key=f"fab {settings.seed} {run} {attempt}")
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
            lead, normals = _find_nearest(victim, leads, points, state.rows, moving, settings.norm)
            mixed = _mix(points.detach(), state.clean, lead, normals, settings)
            following = torch.where(per_tile(back, mixed), following, mixed)
            # Without a gradient there is no direction to move in, so the run ends.
            done |= moving & ~normals.flatten(1).any(1)
        moved = replace(state, points=following, drawn_back=back, steps=state.steps + moving.long())
        return keep(moved, ~done)

    def spent(state: _State) -> Tensor:
        return state.steps / settings.max_iterations

    for run, aim in enumerate(aims):
        for attempt in range(settings.restarts):
            rows = (standing & ~best.final).nonzero()[:, 0]
            number, rounds = run * settings.restarts + attempt, len(aims) * settings.restarts
            with count_one_round(len(images) - len(rows), len(rows), number / rounds, (number + 1) / rounds):
                run_active(victim, rows, partial(start, run=run, attempt=attempt), partial(step, aim=aim), spent)
    return best.images


ATTACK = Attack(FastAdaptiveBoundary, fast_adaptive_boundary)


class _Shortest:
    """The point of the shortest perturbation that reaches the goal for each tile, or its last point.

    Parameters
    ----------
    images
        (n, channels, h, w) clean images.
    settings
        Settings of the attack. With a bound, no point beyond it counts, and the first success within it is final.
    """

    def __init__(self, images: Tensor, settings: FastAdaptiveBoundary) -> None:
        self.images = images.clone()
        self._clean, self._norm, self._eps = images, settings.norm, settings.eps
        self._sizes = images.new_full((len(images),), torch.inf)

    @property
    def final(self) -> Tensor:
        """(n,) booleans, True for tiles for which the attack searches no better point."""
        return self._sizes.isfinite() & (self._eps is not None)

    def radius(self, rows: Tensor) -> Tensor:
        """Return the radius within which shorter perturbations may lie, (n,)."""
        return self._sizes[rows].clamp_max(FARTHEST_START[self._norm] if self._eps is None else self._eps)

    def offer(self, rows: Tensor, points: Tensor, fooling: Tensor) -> Tensor:
        """Store the points that are better than the known ones, and return (n,) booleans, True for final tiles."""
        clean, known = self._clean[rows], self._sizes[rows]
        found = measure_sizes(points - clean, self._norm)
        if self._eps is not None:
            fooling = fooling & (found <= self._eps)
            points = project(points, clean, self._eps, self._norm)
        better = torch.where(fooling, found < known, known.isinf())
        self.images[rows[better]] = points[better]
        self._sizes[rows] = torch.where(fooling & better, found, known)
        return self.final[rows]


def _leads(logits: Tensor, goal: Goal, rows: Tensor, aim: Tensor | None) -> list[Tensor]:
    """Return the lead in logits before each candidate boundary, (n,) each; negative beyond the boundary."""
    if goal.targeted:
        return [goal.lead(logits, rows)]
    own = goal.classes[rows]
    others = [aim[rows]] if aim is not None else [(own + turn) % logits.shape[1] for turn in range(1, logits.shape[1])]
    return [(logits.gather(1, own[:, None]) - logits.gather(1, other[:, None]))[:, 0] for other in others]


def _find_nearest(
    victim: Victim, leads: list[Tensor], points: Tensor, rows: Tensor, moving: Tensor, norm: Norm
) -> tuple[Tensor, Tensor]:
    """Return the lead before each tile's nearest boundary, by linearization, and the gradient of that lead."""
    nearest = torch.full_like(leads[0], torch.inf).detach()
    lead, normals = torch.zeros_like(nearest), torch.zeros_like(points)
    for number, other in enumerate(leads, start=1):
        more = number < len(leads)
        gradient = victim.gradient(other[moving].sum(), points, rows[moving], retain_graph=more)
        slope = torch.linalg.vector_norm(gradient.flatten(1), ord=DUAL[norm], dim=1)
        distance = other.detach().abs() / slope.clamp_min(TINY)
        # Without a gradient there is no step to the boundary, even if the lead is small.
        nearer = (distance < nearest) & (slope > 0)
        nearest = torch.where(nearer, distance, nearest)
        lead = torch.where(nearer, other.detach(), lead)
        normals = torch.where(per_tile(nearer, normals), gradient, normals)
    return lead, normals.detach()


def _mix(points: Tensor, clean: Tensor, lead: Tensor, normals: Tensor, settings: FastAdaptiveBoundary) -> Tensor:
    """Return points between the projections of point and clean image, nearer to the shorter one and a little beyond."""
    clean_lead = lead + (normals * (clean - points)).flatten(1).sum(1)
    begins = ((points, lead), (clean, clean_lead))
    moves = [project_onto_hyperplane(begin, normals, -gap, settings.norm) for begin, gap in begins]
    own, other = (measure_sizes(move, settings.norm) for move in moves)
    weight = per_tile((own / (own + other).clamp_min(TINY)).clamp_max(settings.alpha_max), points)
    mixed = torch.lerp(points + settings.eta * moves[0], clean + settings.eta * moves[1], weight)
    return mixed.clamp(0, 1)
