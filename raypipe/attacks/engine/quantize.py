"""Finish an attack in 8 bits: what is stored, shown and classified is an image, not a float tensor.

Perturbations of minimal length often die when rounded: of DeepFool's, about half. Stretching them by a few percent
brings them back, for one or two forward passes. Against a steep model they may be so short that rounding leaves nothing
of them: then the stretch goes on until their largest values reach a step of 1/255. And where a model is so uneven that
it is fooled between the 8-bit images, but by none of them along that line, they are moved on by steps of 1/255.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from raypipe.attacks.base import Ball
from raypipe.attacks.engine.active import keep, predict, run_active
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.tensors import lengths, per_tile
from raypipe.attacks.engine.victim import Victim

SCALES = (*(1 + 0.03 * step for step in range(67)), *(3 * 1.1**step for step in range(47)))
"""By which perturbations are stretched, in the order tried: in steps of 3 % of the perturbation to 3 times its length,
then in steps of a tenth to about 240 times, at which the shortest that float32 attacks give reach a step of 1/255."""

FIRST_SHARE = 1 / 64
"""Of the values that a walk moves by 1/255 in its first step; twice as many in every further one, up to all."""
LONGEST_WALK = 12
"""Steps; a model that is fooled between 8-bit images gives way in one to four."""

WHOLE = 1e-3
"""A radius this close below a whole number of steps of 1/255 is that number: 8/255 has no exact float."""
FLOAT_NOISE = 1e-6
"""Share of a radius by which a perturbation may exceed it: neither 4/255 nor a sum of squares has an exact float."""


def to_unit(images: Tensor) -> Tensor:
    """8-bit pixels as float32 in [0, 1]."""
    return images.float() / 255


def to_bytes(images: Tensor) -> Tensor:
    """Float pixels rounded to 8 bits; what is outside [0, 1] is clipped."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def to_eight_bit(
    victim: Victim, images: Tensor, adversarial: Tensor, goal: Goal, *, gradients: bool = True
) -> tuple[Tensor, Tensor]:
    """Round adversarial images to 8 bits, with the perturbation stretched by the smallest scale that survives it.

    Parameters
    ----------
    victim
        The frozen model; forward passes only, but for tiles that no scale brings to the goal.
    images
        (n, channels, h, w), uint8: the clean images, which do not reach the goal.
    adversarial
        (n, channels, h, w), float32 in [0, 1]: what the attack made of them.
    goal
        What counts as success.
    gradients
        Whether the threat model has them. Without, nothing is walked.

    Returns
    -------
    images : torch.Tensor
        (n, channels, h, w), uint8. Where no scale and no walk succeeds: the float result, rounded as it is.
    logits : torch.Tensor
        (n, classes) of these images. Where one succeeded, the goal is reached by more than float noise can undo.
    """
    result = to_bytes(adversarial)
    found: list[tuple[Tensor, Tensor]] = []

    def start(rows: Tensor) -> _Stretch:
        clean = to_unit(images[rows])
        perturbation = adversarial[rows] - clean
        utmost = to_bytes(clean + SCALES[-1] * perturbation)
        state = _Stretch(rows, images[rows], perturbation, utmost, images[rows], torch.zeros_like(rows))
        return keep(state, _differ(state.tried, utmost))

    def step(state: _Stretch) -> _Stretch:
        candidates, scale = _next_candidates(state)
        state = replace(state, tried=candidates, scale=scale)
        state = keep(state, scale <= len(SCALES))
        if not len(state.rows):
            return state
        with torch.no_grad():
            logits = victim.logits(to_unit(state.tried), state.rows)
        fooled = goal.clearly_reached(logits, state.rows)
        result[state.rows[fooled]] = state.tried[fooled]
        found.append((state.rows[fooled], logits[fooled]))
        # Where every changed pixel is black or white already, a larger scale gives the same image.
        return keep(state, ~fooled & _differ(state.tried, state.utmost))

    run_active(victim, victim.rows(), start, step)
    left = _others(victim, found)
    if gradients and len(left):
        reached = goal.reached(predict(victim, adversarial[left], left), left)
        _walk(victim, left[reached], result, goal, found)
        left = _others(victim, found)
    rest = [(left, predict(victim, to_unit(result[left]), left))] if len(left) else []
    rows, logits = (torch.cat(parts) for parts in zip(*found, *rest, strict=True))
    return result, torch.empty_like(logits).index_copy_(0, rows, logits)


def _others(victim: Victim, found: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The tiles that are not among those found."""
    left = torch.ones_like(victim.forwards, dtype=torch.bool)
    for rows, _ in found:
        left[rows] = False
    return left.nonzero()[:, 0]


def _walk(
    victim: Victim,
    rows: Tensor,
    result: Tensor,
    goal: Goal,
    found: list[tuple[Tensor, Tensor]],
    within: Callable[[Tensor, Tensor], Tensor] = lambda _, points: points,
) -> None:
    """Move 8-bit images towards the goal along their gradients, more and more values a step; adds those that arrive.

    `within` brings the images of some rows back to where they may be.
    """

    def step(state: _Walk) -> _Walk:
        points = to_unit(state.points).requires_grad_()
        logits = victim.logits(points, state.rows)
        fooled = goal.clearly_reached(logits, state.rows)
        result[state.rows[fooled]] = state.points[fooled]
        found.append((state.rows[fooled], logits[fooled].detach()))
        going = ~fooled & (state.steps < LONGEST_WALK)
        if not bool(going.any()):
            return keep(state, going)
        gradients = victim.gradient(goal.lead(logits, state.rows)[going].sum(), points, state.rows[going]).flatten(1)
        share = (FIRST_SHARE * 2.0**state.steps).clamp_max(1)
        ranks = gradients.abs().argsort(dim=1, descending=True).argsort(dim=1)
        moved = torch.where(ranks < share[:, None] * gradients.shape[1], -gradients.sign(), 0).view(points.shape)
        stepped = within(state.rows, (state.points.int() + moved.int()).clamp(0, 255).to(torch.uint8))
        return keep(replace(state, points=stepped, steps=state.steps + 1), going)

    run_active(victim, rows, lambda rows: _Walk(rows, result[rows], torch.zeros_like(rows)), step)


def whole_steps(eps: float) -> int:
    """How many steps of 1/255 fit into a radius; float noise below a whole number does not count."""
    return math.floor(eps * 255 + WHOLE)


def to_eight_bit_within(
    victim: Victim, images: Tensor, adversarial: Tensor, goal: Goal, ball: Ball, *, gradients: bool = True
) -> tuple[Tensor, Tensor]:
    """Round adversarial images to 8 bits without leaving a ball; what thereby loses its success is moved on within it.

    Attacks that stop at the first success end just behind the boundary, and rounding may bring them back.

    Parameters
    ----------
    victim, images, adversarial, goal, gradients
        As in `to_eight_bit`.
    ball
        What may not be left.

    Returns
    -------
    images, logits : torch.Tensor
        As from `to_eight_bit`.
    """
    result, rows = round_into_ball(images, adversarial, ball), victim.rows()
    logits = predict(victim, to_unit(result), rows)
    left = (~goal.reached(logits, rows)).nonzero()[:, 0]
    if gradients and len(left):
        lost = left[goal.reached(predict(victim, adversarial[left], left), left)]
        found: list[tuple[Tensor, Tensor]] = []
        _walk(
            victim, lost, result, goal, found, lambda rows, points: round_into_ball(images[rows], to_unit(points), ball)
        )
        for rows, new in found:
            logits[rows] = new
    return result, logits


def round_into_ball(images: Tensor, adversarial: Tensor, ball: Ball) -> Tensor:
    """Round adversarial images to 8 bits without leaving a ball: what is outside the threat model is no success.

    Parameters
    ----------
    images
        (n, channels, h, w), uint8: the clean images.
    adversarial
        (n, channels, h, w), float32 in [0, 1], in the ball.
    ball
        What it may not leave.

    Returns
    -------
    torch.Tensor
        (n, channels, h, w), uint8. ``linf``: changes are rounded, but to no more than the whole steps of 1/255
        within the radius. ``l2``: where rounding makes a perturbation too long, it is shrunk first, and as little as
        suffices.
    """
    if ball.norm == "linf":
        steps = whole_steps(ball.eps)
        change = to_bytes(adversarial).int() - images.int()
        return (images.int() + change.clamp(-steps, steps)).to(torch.uint8)
    clean, result = to_unit(images), images.clone()
    left = torch.arange(len(images), device=images.device)
    for percent in range(100, 0, -1):
        shrunk = to_bytes(torch.lerp(clean[left], adversarial[left], percent / 100))
        fits = lengths(to_unit(shrunk) - clean[left]) <= ball.eps * (1 + FLOAT_NOISE)
        result[left[fits]] = shrunk[fits]
        left = left[~fits]
        if not len(left):
            break
    return result


@dataclass(frozen=True)
class _Walk:
    """Tiles that no scale brought to the goal."""

    rows: Tensor
    points: Tensor
    steps: Tensor
    """Taken so far."""


@dataclass(frozen=True)
class _Stretch:
    """Tiles whose perturbation does not survive rounding yet."""

    rows: Tensor
    clean: Tensor
    perturbation: Tensor
    utmost: Tensor
    """The image at the largest scale."""
    tried: Tensor
    """The last image that failed; at first the clean one."""
    scale: Tensor
    """The position in `SCALES` to try next."""


def _next_candidates(state: _Stretch) -> tuple[Tensor, Tensor]:
    """Each tile's image at its next scale that changes a pixel, and the scale after it.

    The scale is beyond the last one where there is no such image.
    """
    clean, scales = to_unit(state.clean), torch.tensor(SCALES, device=state.rows.device)
    candidates, scale = state.tried.clone(), state.scale.clone()
    open_rows = torch.arange(len(scale), device=scale.device)
    while len(open_rows):
        stretched = clean[open_rows] + per_tile(scales[scale[open_rows]], clean) * state.perturbation[open_rows]
        candidates[open_rows] = to_bytes(stretched)
        scale[open_rows] += 1
        same = ~_differ(candidates[open_rows], state.tried[open_rows])
        exhausted = scale[open_rows] >= len(SCALES)
        scale[open_rows[same & exhausted]] = len(SCALES) + 1
        open_rows = open_rows[same & ~exhausted]
    return candidates, scale


def _differ(images: Tensor, others: Tensor) -> Tensor:
    """(n,) booleans: where two batches differ in any pixel."""
    return (images != others).flatten(1).any(1)
