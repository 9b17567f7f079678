"""Adversarial patch (Brown et al., 2017, arXiv:1712.09665): any pixels, in one rectangle of bounded area.

The published patch is printed once for all images. Here each tile has a patch of its own, at a position of its own.
This attacker is stronger, so the robust accuracy is a lower one. Nothing bounds the size of a change inside the patch.
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import avg_pool2d

from raypipe.attacks.base import Attack, StoppableAttack
from raypipe.attacks.engine.active import keep, map_batches, predict_clean, run_active
from raypipe.attacks.engine.draws import make_generators
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.headway import count_one_round
from raypipe.attacks.engine.losses import Strongest, margin
from raypipe.attacks.engine.tensors import TINY, per_tile
from raypipe.attacks.engine.victim import Victim
from raypipe.base.norms import AnyNorm


class AdversarialPatch(StoppableAttack):
    """Settings of `adversarial_patch`, beside those of `raypipe.attacks.base.StoppableAttack`.

    Parameters
    ----------
    area
        Largest share of a tile's pixels that the patch covers, in (0, 1].
    position
        ``search`` puts the patch where a change of its pixels would raise the loss most, by the gradient on the clean
        tile; each restart takes the next best place. ``random`` draws the places from the seed and the pixels.
    max_iterations
        Number of steps of a run.
    restarts
        Largest number of runs, each at another position.
    step_size
        First step for each channel value, with pixels in [0, 1]. Steps shrink linearly to zero.
    momentum
        Weight of the earlier gradients, in [0, 1).
    """

    name: Literal["adversarial_patch"] = "adversarial_patch"
    minimizes: ClassVar[AnyNorm] = "none"
    area: float = Field(0.05, gt=0, le=1)
    position: Literal["search", "random"] = "search"
    max_iterations: int = Field(40, ge=1)
    restarts: int = Field(2, ge=1)
    step_size: float = Field(0.1, gt=0, le=1)
    momentum: float = Field(0.9, ge=0, lt=1)

    @property
    def limits(self) -> str:
        """Area of the patch, and who chooses its position."""
        place = "anywhere" if self.position == "search" else "at a random place"
        return f"patch on {100 * self.area:.3g} % of the area, {place}"


@dataclass(frozen=True)
class _State:
    """State of the tiles that the attack still searches."""

    rows: Tensor
    clean: Tensor
    inside: Tensor
    """(n, 1, h, w) booleans, True in the patch."""
    points: Tensor
    direction: Tensor
    """Sum of the gradients so far, of which older ones count less."""
    steps: Tensor


def adversarial_patch(victim: Victim, images: Tensor, goal: Goal, settings: AdversarialPatch) -> Tensor:
    """Raise the margin of a wrong class by the pixels of one rectangle of each image.

    Parameters
    ----------
    victim
        The frozen model.
    images
        (n, channels, h, w), float32 in [0, 1].
    goal
        True classes to leave, or target classes to reach.
    settings
        Settings of the patch and the search.

    Returns
    -------
    torch.Tensor
        Adversarial images like `images`, in [0, 1], which differ from them only inside the patch. A tile that already
        reaches the goal is returned unchanged. Where the attack fails, it returns the point with the largest margin.

    Raises
    ------
    ValueError
        If the area is less than a pixel.

    References
    ----------
    Brown, Mané, Roy, Abadi and Gilmer, 2017, arXiv:1712.09665. Steps with momentum: Dong et al., 2018,
    arXiv:1710.06081.
    """
    best, size = Strongest(images), choose_patch_size(settings.area, images.shape[2], images.shape[3])
    standing = ~goal.reached(predict_clean(victim, images), victim.rows())
    ranked = standing.nonzero()[:, 0]
    places = _draw_places(images, size, settings)
    if settings.position == "search":
        map_batches(victim, ranked, lambda rows: _rank_places(victim, images, goal, rows, size, into=places))

    def start(rows: Tensor, run: int) -> _State:
        clean, drawn = images[rows], make_generators(images[rows], key=f"patch {settings.seed} {run}")
        noise = torch.stack([torch.rand(clean.shape[1:], generator=generator) for generator in drawn]).to(clean)
        inside = _mask_rectangles(places[rows, run], size, images.shape[2:])
        points = torch.where(inside, noise, clean)
        return _State(rows, clean, inside, points, torch.zeros_like(clean), torch.zeros_like(rows))

    def step(state: _State) -> _State:
        points = state.points.requires_grad_()
        logits = victim.logits(points, state.rows)
        margins = margin(logits, goal, state.rows)
        fooled = goal.clearly_reached(logits, state.rows)
        best.offer(state.rows, points.detach(), margins.detach(), fooled)
        going = ~(fooled & settings.early_stop) & (state.steps < settings.max_iterations)
        if not bool(going.any()):
            return keep(state, going)
        gradients = victim.gradient(margins[going].sum(), points, state.rows[going])
        scale = gradients.abs().flatten(1).mean(1).clamp_min(TINY)
        direction = settings.momentum * state.direction + gradients / per_tile(scale, gradients)
        length = settings.step_size * (1 - state.steps / settings.max_iterations)
        stepped = (points.detach() + per_tile(length, points) * direction.sign()).clamp(0, 1)
        stepped = torch.where(state.inside, stepped, state.clean)
        return keep(replace(state, points=stepped, direction=direction, steps=state.steps + 1), going)

    for run in range(settings.restarts):
        rows = (standing & ~(best.fooled & settings.early_stop)).nonzero()[:, 0]
        with count_one_round(
            len(images) - len(rows), len(rows), run / settings.restarts, (run + 1) / settings.restarts
        ):
            run_active(victim, rows, partial(start, run=run), step)
    return best.images


ATTACK = Attack(AdversarialPatch, adversarial_patch)


def choose_patch_size(area: float, height: int, width: int) -> tuple[int, int]:
    """Return the height and width of the largest patch: a square where it fits into the tile.

    Parameters
    ----------
    area
        Largest share of the tile's pixels.
    height, width
        Size of the tile in pixels.

    Raises
    ------
    ValueError
        If the area is less than a pixel.
    """
    pixels = math.floor(area * height * width + 1e-9)
    if not pixels:
        raise ValueError(f"area = {area:g}: less than a pixel of a tile of {height} x {width}, expected a larger share")
    side = math.isqrt(pixels)
    if side <= min(height, width):
        return side, side
    return (height, pixels // height) if height < width else (pixels // width, width)


def _mask_rectangles(corners: Tensor, size: tuple[int, int], shape: torch.Size) -> Tensor:
    """Return (n, 1, h, w) booleans, True in the patch whose upper left corner (n, 2) is given."""
    down, across = (torch.arange(length, device=corners.device) for length in shape)
    top, left = corners[:, :1], corners[:, 1:]
    rows = (down >= top) & (down < top + size[0])
    columns = (across >= left) & (across < left + size[1])
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _draw_places(images: Tensor, size: tuple[int, int], settings: AdversarialPatch) -> Tensor:
    """Return the corners (n, restarts, 2) of patches at places drawn from the seed and the pixels."""
    free = torch.tensor([length - side + 1 for length, side in zip(images.shape[2:], size, strict=True)])
    drawn = make_generators(images, key=f"patch places {settings.seed}")
    shares = torch.stack([torch.rand(settings.restarts, 2, generator=generator) for generator in drawn])
    return torch.minimum((shares * free).long(), free - 1).to(images.device)


def _rank_places(victim: Victim, images: Tensor, goal: Goal, rows: Tensor, size: tuple[int, int], into: Tensor) -> None:
    """Write the best corners for each restart into (n, restarts, 2) corners, by the gradient of the margin.

    The gain of a pixel is what its change to black or white would add to the margin of the linearized model. Places
    of two restarts are at least half a patch apart, as far as the tile has such places.
    """
    points = images[rows].requires_grad_()
    gradient = victim.gradient(margin(victim.logits(points, rows), goal, rows).sum(), points, rows)
    clean = points.detach()
    gain = torch.maximum(gradient * (1 - clean), -gradient * clean).sum(1, keepdim=True)
    gains = avg_pool2d(gain, size, stride=1)[:, 0]
    down, across = (torch.arange(length, device=rows.device) for length in gains.shape[1:])
    for run in range(into.shape[1]):
        best = gains.flatten(1).argmax(1)
        corners = torch.stack([best // gains.shape[2], best % gains.shape[2]], 1)
        into[rows, run] = corners
        near_rows = (down - corners[:, :1]).abs() < size[0] / 2
        near_columns = (across - corners[:, 1:]).abs() < size[1] / 2
        gains = gains.masked_fill(near_rows[:, :, None] & near_columns[:, None, :], -torch.inf)
