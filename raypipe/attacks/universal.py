"""Universal perturbation: one pattern that fools a model on many tiles.

Moosavi-Dezfooli et al., 2017, arXiv:1610.08401, found that such patterns exist. This one is found by gradient ascent on
a clipped loss over training tiles (Shafahi et al., 2020, arXiv:1811.11304). It is no attack of the registry, because it
is made once for all tiles and not for each.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from raypipe.attacks.engine.active import map_batches
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.losses import cross_entropy
from raypipe.attacks.engine.norms import normalize, project
from raypipe.attacks.engine.prepare import PreparedModel
from raypipe.attacks.engine.quantize import round_into_ball, to_unit
from raypipe.attacks.engine.victim import Victim, freeze
from raypipe.base.norms import BallSettings, Norm
from raypipe.base.settings import Ratio

GRAY = 128
"""Value of the gray tile that a pattern is added to while it is rounded."""
BATCH = 32
"""Number of tiles whose gradients make a step, on every device, so that the steps do not depend on the memory."""


class Universal(BallSettings):
    """Settings of the universal perturbation.

    Parameters
    ----------
    norm
        Norm of the pattern: ``linf`` or ``l2``.
    eps
        Largest size of the pattern, with pixels in [0, 1]: the largest change of each value for ``linf`` (default
        8/255), and the length over all values for ``l2`` (default 2).
    tiles
        Number of training tiles that the pattern is made from, balanced by class.
    epochs
        Number of passes over these tiles.
    step_size
        Length of the first step as a share of `eps`. Steps become shorter linearly, down to zero.
    clip
        Largest loss of a tile, in log odds: tiles that are fooled by more do not move the pattern.
    """

    usual_eps: ClassVar[Mapping[Norm, float]] = {"linf": 8 / 255, "l2": 2.0}

    eps: Ratio = Field(usual_eps["linf"], gt=0)
    tiles: int = Field(500, ge=1)
    epochs: int = Field(10, ge=1)
    step_size: Ratio = Field(0.2, gt=0, le=2)
    clip: float = Field(1.0, gt=0)


@dataclass(frozen=True, eq=False)
class Pattern:
    """A universal perturbation, with the random pattern that it is compared with.

    Parameters
    ----------
    change
        (h, w, channels) change of each 8-bit value, whole numbers.
    random
        (h, w, channels) random change of the same size.
    fooled, random_fooled
        Shares of the training tiles whose prediction each of them changes, from 0 to 1.
    forwards, backwards
        Numbers of passes of one tile.
    """

    change: NDArray[np.int16]
    random: NDArray[np.int16]
    fooled: float
    random_fooled: float
    forwards: int
    backwards: int


def train_pattern(
    model: PreparedModel, images: NDArray[np.uint8], labels: NDArray[np.int64], settings: Universal, seed: int
) -> Pattern:
    """Return the pattern that changes the predictions of most training tiles: that of an epoch, or the random one.

    Parameters
    ----------
    model
        Model to fool.
    images, labels
        (n, h, w, channels) training tiles, and their classes.
    settings
        Size of the pattern, and the budget.
    seed
        Seed of the random pattern and of the order of tiles.

    Notes
    -----
    The loss of a tile is the log odds of all other classes against the true one, clipped at `settings.clip`. Shafahi et
    al. clip the cross-entropy; log odds have the same order, and their gradients do not vanish where the model is sure.
    The search starts from no change. Every step follows the sum of the gradients of `BATCH` tiles (its sign in
    ``linf``), and is projected onto the ball.

    References
    ----------
    Shafahi, Najibi, Xu, Dickerson, Davis and Goldstein, 2020, arXiv:1811.11304, algorithm 2.
    """
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(model.device)
    goal = Goal(torch.from_numpy(labels).to(model.device))
    random = round_pattern(_draw(pixels[0], settings, generator), settings)
    with freeze(model.exact) as network:
        victim = Victim(network, len(images), model.batch_size)
        plain = victim.with_model(model.plain)
        before = _predict(plain, pixels)
        start = _share(before, _predict(plain, _add(pixels, random)))
        best, most = random, start
        offset = torch.zeros(1, *pixels.shape[1:], device=model.device)
        steps = settings.epochs * -(-len(images) // BATCH)
        taken = 0
        for _ in range(settings.epochs):
            order = torch.randperm(len(images), generator=generator).to(model.device)
            for begin in range(0, len(images), BATCH):
                rows = order[begin : begin + BATCH]
                slope = _compute_slope(victim, pixels, offset, goal, rows, settings.clip)
                length = settings.eps * settings.step_size * (1 - taken / steps)
                offset = _shrink(offset + length * normalize(slope[None], settings.norm), settings)
                taken += 1
            candidate = round_pattern(offset[0], settings)
            share = _share(before, _predict(plain, _add(pixels, candidate)))
            if share > most:
                best, most = candidate, share
    forwards, backwards = (int(count.sum()) for count in (victim.forwards, victim.backwards))
    return Pattern(_to_array(best), _to_array(random), most, start, forwards, backwards)


def round_pattern(offset: Tensor, settings: Universal) -> Tensor:
    """Return a pattern (channels, h, w) in whole steps of 1/255 that is not larger than `settings.eps`.

    Parameters
    ----------
    offset
        (channels, h, w) pattern, with pixels in [0, 1].
    settings
        Norm and size.
    """
    gray = torch.full_like(offset, GRAY, dtype=torch.uint8)[None]
    return (round_into_ball(gray, to_unit(gray) + offset, settings.ball).int() - GRAY)[0]


def _draw(tile: Tensor, settings: Universal, generator: torch.Generator) -> Tensor:
    """Return a random pattern as large as the ball allows: random signs, or a random direction."""
    draws = torch.randn(tile.shape, generator=generator).to(tile.device)
    return settings.eps * normalize(draws[None], settings.norm)[0]


def _shrink(offset: Tensor, settings: Universal) -> Tensor:
    """Return a pattern (1, channels, h, w) projected onto the ball around zero."""
    gray = torch.full_like(offset, 0.5)
    return project(gray + offset, gray, settings.eps, settings.norm) - gray


def _compute_slope(victim: Victim, pixels: Tensor, offset: Tensor, goal: Goal, rows: Tensor, clip: float) -> Tensor:
    """Return the gradient of the clipped loss of some tiles by the pattern, (channels, h, w)."""
    slopes: list[Tensor] = []

    def ascend(part: Tensor) -> None:
        points = (to_unit(pixels[part]) + offset).clamp(0, 1).requires_grad_()
        loss = cross_entropy(victim.logits(points, part), goal, part).clamp_max(clip)
        slopes.append(victim.gradient(loss.sum(), points, part).sum(0))

    map_batches(victim, rows, ascend)
    return torch.stack(slopes).sum(0)


@torch.no_grad()
def _predict(victim: Victim, pixels: Tensor) -> Tensor:
    """Return the classes that a model predicts for 8-bit tiles, (n,)."""
    predicted = torch.zeros(len(pixels), dtype=torch.long, device=pixels.device)

    def look(rows: Tensor) -> None:
        predicted[rows] = victim.logits(to_unit(pixels[rows]), rows).argmax(1)

    map_batches(victim, victim.rows(), look)
    return predicted


def _add(pixels: Tensor, change: Tensor) -> Tensor:
    return (pixels.int() + change).clamp(0, 255).to(torch.uint8)


def _share(before: Tensor, after: Tensor) -> float:
    return float((before != after).float().mean())


def _to_array(change: Tensor) -> NDArray[np.int16]:
    array: NDArray[np.int16] = change.permute(1, 2, 0).cpu().numpy().astype(np.int16)
    return array
