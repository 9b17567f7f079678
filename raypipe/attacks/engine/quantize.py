"""The conversion of an attack's results to 8 bits.

Images are stored, shown and classified, not float tensors. Rounding often makes perturbations of minimal length fail,
for DeepFool about half of them. Stretching them by a few percent makes them succeed again, for one or two forward
passes. Against a steep model, perturbations may be so short that rounding removes them completely. Then the stretch
continues until their largest values reach a step of 1/255. Some models are so uneven that they are fooled between the
8-bit images, but by no 8-bit image along that line. Then the image is moved further, by steps of 1/255.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from raypipe.attacks.engine.active import keep, predict, run_active
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.tensors import measure_lengths, per_tile
from raypipe.attacks.engine.victim import Victim
from raypipe.base.norms import Ball
from raypipe.base.rounding import FLOAT_NOISE, count_whole_steps

SCALES = (*(1 + 0.03 * step for step in range(67)), *(3 * 1.1**step for step in range(47)))
"""Factors that stretch perturbations, in the order of the trials. Up to 3 times the length they grow in steps of 3 % of
the perturbation. Then each is a tenth larger than the last, up to about 240 times. There the shortest perturbations of
float32 attacks reach a step of 1/255."""

FIRST_SHARE = 1 / 64
"""Share of the values that a walk moves by 1/255 in its first step. Each later step moves twice as many, up to all."""
LONGEST_WALK = 12
"""Largest number of steps of a walk. A model that is fooled between 8-bit images needs one to four."""


def to_unit(images: Tensor) -> Tensor:
    """Return 8-bit pixels as float32 in [0, 1]."""
    return images.float() / 255


def to_bytes(images: Tensor) -> Tensor:
    """Return float pixels rounded to 8 bits; values outside [0, 1] are clipped."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def to_eight_bit(
    victim: Victim, images: Tensor, adversarial: Tensor, goal: Goal, *, gradients: bool = True
) -> tuple[Tensor, Tensor]:
    """Round adversarial images to 8 bits, with perturbations stretched by the smallest scale that succeeds.

    Parameters
    ----------
    victim
        The frozen model. It needs only forward passes, except for tiles that no scale brings to the goal.
    images
        (n, channels, h, w), uint8: the clean images, which do not reach the goal.
    adversarial
        (n, channels, h, w), float32 in [0, 1]: the results of the attack.
    goal
        Goal that counts as success.
    gradients
        True if the threat model includes gradients. Without them there are no walks.

    Returns
    -------
    images : torch.Tensor
        (n, channels, h, w), uint8. Where no scale and no walk succeeds, it is the rounded result of the attack.
    logits : torch.Tensor
        (n, classes) logits of these images. Where a scale or a walk succeeds, the goal is reached by more than float
        noise.
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
        candidates, scale = _find_next_candidates(state)
        state = replace(state, tried=candidates, scale=scale)
        state = keep(state, scale <= len(SCALES))
        if not len(state.rows):
            return state
        with torch.no_grad():
            logits = victim.logits(to_unit(state.tried), state.rows)
        fooled = goal.clearly_reached(logits, state.rows)
        result[state.rows[fooled]] = state.tried[fooled]
        found.append((state.rows[fooled], logits[fooled]))
        # Once every changed value is black or white, a larger scale gives the same image.
        return keep(state, ~fooled & _differ(state.tried, state.utmost))

    run_active(victim, victim.rows(), start, step)
    left = _find_others(victim, found)
    if gradients and len(left):
        reached = goal.reached(predict(victim, adversarial[left], left), left)
        _walk(victim, left[reached], result, goal, found)
        left = _find_others(victim, found)
    rest = [(left, predict(victim, to_unit(result[left]), left))] if len(left) else []
    rows, logits = (torch.cat(parts) for parts in zip(*found, *rest, strict=True))
    return result, torch.empty_like(logits).index_copy_(0, rows, logits)


def _find_others(victim: Victim, found: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the positions of the tiles without an entry in `found`."""
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
    """Move 8-bit images toward the goal along their gradients, and add those that arrive to `found`.

    Each step moves more values than the last one. `within` moves the images of some rows back into the allowed region.
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


def to_eight_bit_within(
    victim: Victim, images: Tensor, adversarial: Tensor, goal: Goal, ball: Ball, *, gradients: bool = True
) -> tuple[Tensor, Tensor]:
    """Round adversarial images to 8 bits without leaving a ball, and move those that rounding makes fail.

    Attacks that stop at the first success end just beyond the decision boundary. Rounding may move their images back
    across it. Such images are moved within the ball.

    Parameters
    ----------
    victim, images, adversarial, goal, gradients
        See `to_eight_bit`.
    ball
        Ball that the results may not leave.

    Returns
    -------
    images, logits : torch.Tensor
        Images and logits like those of `to_eight_bit`.
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
    """Round adversarial images to 8 bits without leaving a ball, because images outside it violate the threat model.

    Parameters
    ----------
    images
        (n, channels, h, w), uint8: the clean images.
    adversarial
        (n, channels, h, w), float32 in [0, 1], in the ball.
    ball
        Ball that the results may not leave.

    Returns
    -------
    torch.Tensor
        (n, channels, h, w), uint8. In ``linf``, changes are rounded to at most the whole steps of 1/255 within the
        radius. In ``l2``, a perturbation that rounding would make too long is first shrunk as little as necessary.
    """
    if ball.norm == "linf":
        steps = count_whole_steps(ball.eps)
        change = to_bytes(adversarial).int() - images.int()
        return (images.int() + change.clamp(-steps, steps)).to(torch.uint8)
    clean, result = to_unit(images), images.clone()
    left = torch.arange(len(images), device=images.device)
    for percent in range(100, 0, -1):
        shrunk = to_bytes(torch.lerp(clean[left], adversarial[left], percent / 100))
        fits = measure_lengths(to_unit(shrunk) - clean[left]) <= ball.eps * (1 + FLOAT_NOISE)
        result[left[fits]] = shrunk[fits]
        left = left[~fits]
        if not len(left):
            break
    return result


@dataclass(frozen=True)
class _Walk:
    """State of the tiles that no scale brought to the goal."""

    rows: Tensor
    points: Tensor
    steps: Tensor
    """Number of steps taken so far."""


@dataclass(frozen=True)
class _Stretch:
    """State of the tiles whose rounded perturbation does not succeed yet."""

    rows: Tensor
    clean: Tensor
    perturbation: Tensor
    utmost: Tensor
    """Image at the largest scale."""
    tried: Tensor
    """Last image that failed; at first the clean image."""
    scale: Tensor
    """Position in `SCALES` of the next trial."""


def _find_next_candidates(state: _Stretch) -> tuple[Tensor, Tensor]:
    """Return each tile's image at the next scale that changes a pixel, and the position of the scale after it.

    Where there is no such image, the position is beyond the last scale.
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
    """Return (n,) booleans, True where two batches differ in any pixel."""
    return (images != others).flatten(1).any(1)
