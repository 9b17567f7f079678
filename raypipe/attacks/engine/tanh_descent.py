"""Descent in tanh space on length and hinge (Carlini and Wagner, 2017, arXiv:1608.04644), shared by both searches.

With ``x' = (tanh(w) + 1) / 2`` every ``w`` is an image. The descent minimizes ``||x' - x||^2 + c * hinge``.
"""

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.tensors import measure_lengths, per_tile
from raypipe.attacks.engine.victim import Victim

INSIDE = 1 - 1e-6
"""Factor that shrinks pixel values before atanh, which is infinite at black and white."""


class Shortest:
    """The shortest adversarial perturbation of each tile so far, or the last point before the first success.

    Parameters
    ----------
    images
        (n, channels, h, w) clean images.
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images.clone()
        self.squares = images.new_full((len(images),), torch.inf)

    def offer(self, rows: Tensor, points: Tensor, squares: Tensor, adversarial: Tensor) -> None:
        """Store the points whose perturbations are shorter than the known ones.

        Parameters
        ----------
        rows
            (m,) positions of the tiles.
        points, squares, adversarial
            (m, channels, h, w) points, (m,) squared lengths of their perturbations, and (m,) booleans, True where they
            fool the model.
        """
        known = self.squares[rows]
        takes = torch.where(adversarial, squares < known, known.isinf())
        self.images[rows[takes]] = points[takes]
        self.squares[rows[takes]] = torch.where(adversarial, squares, known)[takes]


@dataclass(frozen=True)
class Descent:
    """State of Adam in tanh space, for the tiles that the attack still changes."""

    rows: Tensor
    clean: Tensor
    constants: Tensor
    w: Tensor
    mean: Tensor
    square: Tensor
    steps: Tensor
    """Number of steps taken in this run, from 0."""


def begin_descent(rows: Tensor, clean: Tensor, constants: Tensor, start: Tensor) -> Descent:
    """Return the state of tiles at the beginning of a run.

    Parameters
    ----------
    rows
        (n,) positions of the tiles.
    clean, start
        (n, channels, h, w) clean images and starting points, in [0, 1].
    constants
        (n,) weights of the hinge.
    """
    zeros = torch.zeros_like(start)
    return Descent(rows, clean, constants, to_tanh(start), zeros, zeros, torch.zeros_like(rows))


def to_tanh(images: Tensor) -> Tensor:
    """Return the ``w`` of images in [0, 1]."""
    return ((images * 2 - 1) * INSIDE).atanh()


@dataclass(frozen=True)
class Probe:
    """Results of one forward pass at the current points."""

    points: Tensor
    squares: Tensor
    leads: Tensor
    """(n,) leads of the current class plus the confidence, in logits; the hinge is their positive part."""

    @property
    def adversarial(self) -> Tensor:
        """(n,) booleans, True where the points fool the model by more than the confidence."""
        return self.leads.detach() < 0


def probe_points(victim: Victim, state: Descent, goal: Goal, confidence: float) -> Probe:
    """Run one forward pass at the current points.

    Parameters
    ----------
    victim
        The frozen model.
    state
        State of the tiles.
    goal, confidence
        Goal that counts as success, and the required lead in logits.
    """
    points = ((state.w.tanh() + 1) / 2).requires_grad_()
    squares = measure_lengths(points.detach() - state.clean).square()
    leads = goal.lead(victim.logits(points, state.rows), state.rows) + confidence
    return Probe(points, squares, leads)


def compute_objective_gradient(
    clean: Tensor, points: Tensor, slopes: Tensor, constants: Tensor, leads: Tensor
) -> Tensor:
    """Return the gradient, in tanh space, of the squared length plus the constant times the hinge.

    The hinge is flat where another class leads, so there the gradient only reduces the length.

    Parameters
    ----------
    clean, points
        (n, ...) clean and perturbed images in [0, 1].
    slopes
        (n, ...) gradients of the leads with respect to pixels.
    constants, leads
        (n,) weights of the hinge, and leads of the current class in logits.
    """
    pull = per_tile(torch.where(leads > 0, constants, torch.zeros_like(constants)), points)
    # With x' = (tanh(w) + 1) / 2, dx'/dw = (1 - tanh(w)^2) / 2 = 2 x' (1 - x').
    return (2 * (points - clean) + pull * slopes) * 2 * points * (1 - points)


_State = TypeVar("_State", bound=Descent)


def step_adam(state: _State, gradient: Tensor, rate: Tensor | float, beta: float) -> _State:
    """Take one step of Adam (Kingma and Ba, 2014, arXiv:1412.6980).

    Parameters
    ----------
    state
        State of the tiles.
    gradient
        (n, channels, h, w) gradients in tanh space.
    rate
        Learning rate of all tiles, or one for each tile in a shape that broadcasts to `gradient`.
    beta
        Decay of the second moment.
    """
    steps = per_tile(state.steps + 1, gradient)
    mean = torch.lerp(gradient, state.mean, 0.9)
    square = torch.lerp(gradient.square(), state.square, beta)
    # These are 1 - beta**steps. Computed directly, float32 would round 1 - 0.999 to four digits.
    weights = [-torch.expm1(steps * math.log(decay)) for decay in (0.9, beta)]
    change = mean / weights[0] / ((square / weights[1]).sqrt() + 1e-8)
    return replace(state, w=state.w - rate * change, mean=mean, square=square, steps=state.steps + 1)
