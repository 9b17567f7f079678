"""Descent in tanh space on length and hinge (Carlini and Wagner, 2017, arXiv:1608.04644): what both searches do.

With ``x' = (tanh(w) + 1) / 2`` every ``w`` is an image. What is minimised is ``||x' - x||^2 + c * hinge``.
"""

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.tensors import lengths, per_tile
from raypipe.attacks.engine.victim import Victim

INSIDE = 1 - 1e-6
"""Pixels are drawn in by this factor before atanh, which is infinite at black and white."""


class Shortest:
    """The shortest adversarial perturbation of each tile so far; until there is one, the last point tried.

    Parameters
    ----------
    images
        (n, channels, h, w) clean.
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images.clone()
        self.squares = images.new_full((len(images),), torch.inf)

    def offer(self, rows: Tensor, points: Tensor, squares: Tensor, adversarial: Tensor) -> None:
        """Take those points that are shorter than what is known.

        Parameters
        ----------
        rows
            (m,) positions of the tiles.
        points, squares, adversarial
            (m, channels, h, w), and (m,) the squared lengths of their perturbations, and whether they fool the model.
        """
        known = self.squares[rows]
        takes = torch.where(adversarial, squares < known, known.isinf())
        self.images[rows[takes]] = points[takes]
        self.squares[rows[takes]] = torch.where(adversarial, squares, known)[takes]


@dataclass(frozen=True)
class Descent:
    """Adam's state in tanh space, for tiles that are being optimised."""

    rows: Tensor
    clean: Tensor
    constants: Tensor
    w: Tensor
    mean: Tensor
    square: Tensor
    steps: Tensor
    """Taken in this run, from 0."""


def descent(rows: Tensor, clean: Tensor, constants: Tensor, start: Tensor) -> Descent:
    """Tiles at the beginning of a run.

    Parameters
    ----------
    rows
        (n,) their positions.
    clean, start
        (n, channels, h, w) images, and where the run begins, in [0, 1].
    constants
        (n,) weights of the hinge.
    """
    zeros = torch.zeros_like(start)
    return Descent(rows, clean, constants, to_tanh(start), zeros, zeros, torch.zeros_like(rows))


def to_tanh(images: Tensor) -> Tensor:
    """The ``w`` of images in [0, 1]."""
    return ((images * 2 - 1) * INSIDE).atanh()


@dataclass(frozen=True)
class Probe:
    """What one forward pass tells about the current points."""

    points: Tensor
    squares: Tensor
    leads: Tensor
    """By how much the tile stands, plus the confidence; the hinge is its positive part."""

    @property
    def adversarial(self) -> Tensor:
        """(n,) whether the points fool the model, by more than the confidence."""
        return self.leads.detach() < 0


def probe_points(victim: Victim, state: Descent, goal: Goal, confidence: float) -> Probe:
    """One forward pass at the current points.

    Parameters
    ----------
    victim
        The frozen model.
    state
        Where the tiles are.
    goal, confidence
        What counts as fooled, and by how much in logits.
    """
    points = ((state.w.tanh() + 1) / 2).requires_grad_()
    squares = lengths(points.detach() - state.clean).square()
    leads = goal.lead(victim.logits(points, state.rows), state.rows) + confidence
    return Probe(points, squares, leads)


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


_State = TypeVar("_State", bound=Descent)


def adam(state: _State, gradient: Tensor, rate: Tensor | float, beta: float) -> _State:
    """One step of Adam (Kingma and Ba, 2014, arXiv:1412.6980).

    Parameters
    ----------
    state
        Where the tiles are.
    gradient
        (n, channels, h, w), in tanh space.
    rate
        The learning rate, or one for each tile, as it broadcasts.
    beta
        The second moment's decay.
    """
    steps = per_tile(state.steps + 1, gradient)
    mean = torch.lerp(gradient, state.mean, 0.9)
    square = torch.lerp(gradient.square(), state.square, beta)
    # 1 - beta**steps, which float32 would round: 1 - 0.999 to four digits.
    weights = [-torch.expm1(steps * math.log(decay)) for decay in (0.9, beta)]
    change = mean / weights[0] / ((square / weights[1]).sqrt() + 1e-8)
    return replace(state, w=state.w - rate * change, mean=mean, square=square, steps=state.steps + 1)
