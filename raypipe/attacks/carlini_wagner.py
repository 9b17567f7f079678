"""The L2 attack of Carlini and Wagner (2017, arXiv:1608.04644), as published and in a form that needs one run.

Both minimise ``||x' - x||^2 + c * hinge`` with Adam over ``w`` where ``x' = (tanh(w) + 1) / 2``; they differ in where
they start and in how they find the constant ``c``.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from raypipe.attacks.deepfool import DeepFool, deepfool
from raypipe.attacks.tensors import TINY, keep, lengths, margins, per_tile
from raypipe.attacks.victim import Victim
from raypipe.settings import Settings

INSIDE = 1 - 1e-6
"""Pixels are drawn in by this factor before atanh, which is infinite at black and white."""
TENFOLD = 10.0
"""The constant grows by this until the first success, as in the authors' code."""
PATIENCE = 10
"""A published run looks at its loss this often, and stops where it no longer falls."""
RAISE, LOWER = 1.3, 0.8
"""The adaptive constant grows while a tile stands and shrinks while it is fooled: the search stays at the boundary."""


class CarliniWagnerL2(Settings):
    """Settings of `carlini_wagner_l2`.

    Parameters
    ----------
    method
        ``adaptive``: start at DeepFool's result and adapt each tile's constant in every step of a single run; not the
        published procedure, but the same objective, at a fraction of its passes. ``published``: start at the image, and
        search for each tile's constant by repeated runs.
    max_iterations
        Steps of one run.
    learning_rate
        Adam's, in tanh space.
    confidence
        By how much, in logits, another class must lead.
    binary_search_steps
        Runs, ``published`` only.
    initial_const
        The first constant, ``published`` only. None: for each tile the one that is right if the model is linear.
    abort_early
        Stop a tile's run when its loss no longer falls, ``published`` only.
    """

    name: Literal["carlini_wagner_l2"] = "carlini_wagner_l2"
    backend: Literal["raypipe"] = "raypipe"
    method: Literal["adaptive", "published"] = "adaptive"
    max_iterations: int = Field(30, ge=1)
    learning_rate: float = Field(0.01, gt=0)
    confidence: float = Field(0.0, ge=0)
    binary_search_steps: int = Field(4, ge=1)
    initial_const: float | None = Field(None, gt=0)
    abort_early: bool = True

    @model_validator(mode="after")
    def _search_is_published(self) -> Self:
        for name in ("binary_search_steps", "initial_const", "abort_early"):
            value = getattr(self, name)
            if self.method == "adaptive" and value != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} = {value}: only `method: published` searches for the constant; say so, or drop it"
                )
        return self


def carlini_wagner_l2(victim: Victim, images: Tensor, labels: Tensor, settings: CarliniWagnerL2) -> Tensor:
    """Minimise the L2 length of a perturbation that makes any other class win.

    Parameters
    ----------
    victim
        The frozen model.
    images
        (n, channels, h, w), float32 in [0, 1].
    labels
        (n,) true classes.
    settings
        Method and budget.

    Returns
    -------
    torch.Tensor
        Like `images`, in [0, 1]: the shortest perturbation found for each tile. A tile that is misclassified from the
        start comes back unchanged; one that could not be fooled comes back where it got to.

    References
    ----------
    Carlini and Wagner, 2017, arXiv:1608.04644, section VI.A, objective f_6.
    """
    return (_adaptive if settings.method == "adaptive" else _published)(victim, images, labels, settings)


def next_constant(constant: Tensor, lower: Tensor, upper: Tensor, hit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One step of each tile's search for the smallest constant that fools the model.

    Parameters
    ----------
    constant, lower, upper
        (n,) the constant just tried, the largest one known to fail (0: none) and the smallest known to succeed
        (infinite: none).
    hit
        (n,) whether the constant just tried succeeded.

    Returns
    -------
    tuple of torch.Tensor
        The next constant, and both bounds.
    """
    upper = torch.where(hit, torch.minimum(upper, constant), upper)
    lower = torch.where(hit, lower, torch.maximum(lower, constant))
    return torch.where(upper.isfinite(), (lower + upper) / 2, constant * TENFOLD), lower, upper


class _Shortest:
    """The shortest adversarial perturbation of each tile so far; until there is one, the last point tried."""

    def __init__(self, images: Tensor) -> None:
        self.images = images.clone()
        self.squares = images.new_full((len(images),), torch.inf)

    def offer(self, rows: Tensor, points: Tensor, squares: Tensor, adversarial: Tensor) -> None:
        known = self.squares[rows]
        takes = torch.where(adversarial, squares < known, known.isinf())
        self.images[rows[takes]] = points[takes]
        self.squares[rows[takes]] = torch.where(adversarial, squares, known)[takes]


@dataclass(frozen=True)
class _Descent:
    """Adam's state in tanh space, for tiles that are still being optimised."""

    rows: Tensor
    clean: Tensor
    labels: Tensor
    constants: Tensor
    w: Tensor
    mean: Tensor
    square: Tensor
    loss: Tensor
    """At the last look; infinite before the first."""


def _descent(rows: Tensor, clean: Tensor, labels: Tensor, constants: Tensor, start: Tensor) -> _Descent:
    zeros = torch.zeros_like(start)
    loss = torch.full_like(constants, torch.inf)
    return _Descent(rows, clean, labels, constants, ((start * 2 - 1) * INSIDE).atanh(), zeros, zeros, loss)


@dataclass(frozen=True)
class _Probe:
    """What one forward pass tells about the current points."""

    points: Tensor
    squares: Tensor
    leads: Tensor
    """By how much the true class leads the best other one, plus the confidence; the hinge is its positive part."""

    @property
    def adversarial(self) -> Tensor:
        return self.leads.detach() < 0


def _probe(victim: Victim, state: _Descent, confidence: float) -> _Probe:
    points = ((state.w.tanh() + 1) / 2).requires_grad_()
    squares = lengths(points.detach() - state.clean).square()
    return _Probe(points, squares, margins(victim.logits(points, state.rows), state.labels) + confidence)


def objective_gradient(clean: Tensor, points: Tensor, slopes: Tensor, constants: Tensor, leads: Tensor) -> Tensor:
    """Gradient in tanh space of the squared length plus the constant times the hinge.

    The hinge is flat where another class leads, so there only the length is reduced.

    Parameters
    ----------
    clean, points
        (n, ...) images and perturbed images in [0, 1].
    slopes
        (n, ...) gradient of the lead in pixels.
    constants, leads
        (n,).
    """
    pull = per_tile(torch.where(leads > 0, constants, torch.zeros_like(constants)), points)
    # With x' = (tanh(w) + 1) / 2, dx'/dw = (1 - tanh(w)^2) / 2 = 2 x' (1 - x').
    return (2 * (points - clean) + pull * slopes) * 2 * points * (1 - points)


def _adam(state: _Descent, gradient: Tensor, step: int, rate: float, beta: float) -> _Descent:
    """Adam (Kingma and Ba, 2014, arXiv:1412.6980); `step` counts from 1, `beta` is the second moment's decay."""
    mean = torch.lerp(gradient, state.mean, 0.9)
    square = torch.lerp(gradient.square(), state.square, beta)
    change = mean / (1 - 0.9**step) / ((square / (1 - beta**step)).sqrt() + 1e-8)
    return replace(state, w=state.w - rate * change, mean=mean, square=square)


def _adaptive(victim: Victim, images: Tensor, labels: Tensor, settings: CarliniWagnerL2) -> Tensor:
    start = deepfool(victim, images, labels, DeepFool())
    best = _Shortest(images)
    distances = lengths(start - images)
    # DeepFool does not move what is misclassified already, nor what has no gradient.
    rows = distances.nonzero()[:, 0]
    if not len(rows):
        return best.images
    state = _descent(rows, images[rows], labels[rows], distances[rows], start[rows])
    for step in range(1, settings.max_iterations + 1):
        probe = _probe(victim, state, settings.confidence)
        best.offer(rows, probe.points.detach(), probe.squares, probe.adversarial)
        if step == settings.max_iterations:
            break
        slopes = victim.gradient(probe.leads.sum(), probe.points, rows)
        if step == 1:
            # At the optimum the pulls of length and hinge cancel: 2 ||x' - x|| = c ||slope||.
            state = replace(state, constants=2 * distances[rows] / lengths(slopes).clamp_min(TINY))
        leads = probe.leads.detach()
        gradient = objective_gradient(state.clean, probe.points.detach(), slopes, state.constants, leads)
        cooled = 0.1 + 0.45 * (1 + math.cos(math.pi * (step - 1) / settings.max_iterations))
        # A run this short needs a second moment with a shorter memory than the usual 0.999.
        state = _adam(state, gradient, step, settings.learning_rate * cooled, beta=0.99)
        state = replace(state, constants=state.constants * torch.where(probe.adversarial, LOWER, RAISE))
    return best.images


def _published(victim: Victim, images: Tensor, labels: Tensor, settings: CarliniWagnerL2) -> Tensor:
    points = images.detach().requires_grad_()
    logits = victim.logits(points, victim.rows())
    standing = logits.detach().argmax(1) == labels
    best = _Shortest(images)
    rows = standing.nonzero()[:, 0]
    if not len(rows):
        return best.images
    leads = margins(logits, labels)[rows] + settings.confidence
    if settings.initial_const is None:
        slopes = lengths(victim.gradient(leads.sum(), points, rows)[rows])
        # The linear model's shortest way across is 2 lead / slope^2 times half the slope.
        constants = 2 * leads.detach() / slopes.square().clamp_min(TINY)
    else:
        constants = torch.full_like(leads.detach(), settings.initial_const)
    lower, upper = torch.zeros_like(constants), torch.full_like(constants, torch.inf)
    for _ in range(settings.binary_search_steps):
        hits = torch.zeros_like(labels, dtype=torch.bool)
        _run(victim, _descent(rows, images[rows], labels[rows], constants, images[rows]), settings, best, hits)
        constants, lower, upper = next_constant(constants, lower, upper, hits[rows])
    return best.images


def _run(victim: Victim, state: _Descent, settings: CarliniWagnerL2, best: _Shortest, hits: Tensor) -> None:
    """Minimise at fixed constants; tiles whose loss no longer falls leave one by one."""
    look = max(1, settings.max_iterations // PATIENCE)
    for step in range(1, settings.max_iterations + 1):
        probe = _probe(victim, state, settings.confidence)
        best.offer(state.rows, probe.points.detach(), probe.squares, probe.adversarial)
        hits[state.rows[probe.adversarial]] = True
        if step == settings.max_iterations:
            break
        leads = probe.leads.detach()
        going = torch.ones_like(probe.adversarial)
        if settings.abort_early and (step - 1) % look == 0:
            loss = probe.squares + state.constants * leads.clamp_min(0)
            going = loss <= 0.9999 * state.loss
            state = replace(state, loss=loss)
            if not bool(going.any()):
                break
        slopes = victim.gradient(probe.leads[going].sum(), probe.points, state.rows[going])
        gradient = objective_gradient(state.clean, probe.points.detach(), slopes, state.constants, leads)
        state = keep(_adam(state, gradient, step, settings.learning_rate, beta=0.999), going)
