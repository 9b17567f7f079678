"""The attack inside a training step: a few steps of gradient ascent within a ball, on all tiles of a batch."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.attacks.engine.norms import normalize, project
from raypipe.attacks.engine.tensors import per_tile
from raypipe.base.norms import Ball

SLOPE = 3
"""Binary logarithm, rounded down, of the largest gradient at a tile's logits after scaling. It is far from both ends of
the range of half precision, 2 ** -24 and 2 ** 16."""


class Perturbed(NamedTuple):
    """A perturbed batch.

    Parameters
    ----------
    images
        (n, channels, h, w) perturbed images in [0, 1].
    passes
        Number of forward passes per tile; there are as many backward passes.
    """

    images: Tensor
    passes: int


def build_misclassification(labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the summed cross-entropy as a function of the logits; most inner attacks maximize it."""
    return lambda logits: F.cross_entropy(logits, labels, reduction="sum")


def draw_start(clean: Tensor, ball: Ball) -> Tensor:
    """Return a point for each image, drawn uniformly from the ball around it and clipped to the box [0, 1]."""
    if ball.norm == "linf":
        offsets = 2 * torch.rand_like(clean) - 1
    else:
        radius = torch.rand(len(clean), device=clean.device) ** (1 / clean[0].numel())
        offsets = normalize(torch.randn_like(clean), "l2") * per_tile(radius, clean)
    return (clean + ball.eps * offsets).clamp(0, 1)


def compute_input_gradients(logits: Tensor, points: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Return each tile's gradient of the loss, times a power of two of its own.

    Where a network is confident, the loss hardly changes with the logits. In half precision its gradient would vanish
    in the backward pass to the pixels. An attack needs only the direction of the gradient. Therefore each tile's
    gradient at the logits is computed in double precision, and scaled to a size that half precision can represent.

    Parameters
    ----------
    logits
        (n, classes) logits of `points`.
    points
        (n, channels, h, w) images that require gradients.
    loss
        Function from logits in double precision to a scalar, the sum over tiles. Adding a constant to all logits of a
        tile must not change it; cross-entropy and divergences have this property.
    """
    wide = logits.detach().double().requires_grad_()
    (slopes,) = torch.autograd.grad(loss(wide), wide)
    # Rounding loses the slope of a class with nearly all of the probability. Slopes sum to 0, so the others give it.
    slopes = slopes.scatter_add(1, wide.argmax(1, keepdim=True), -slopes.sum(1, keepdim=True))
    largest = slopes.abs().amax(1, keepdim=True)
    doublings = torch.where(largest > 0, SLOPE - largest.log2().floor(), 0)
    (gradients,) = torch.autograd.grad(logits, points, torch.ldexp(slopes, doublings).to(logits.dtype))
    return gradients


def ascend(
    victim: nn.Module,
    clean: Tensor,
    points: Tensor,
    loss: Callable[[Tensor], Tensor],
    ball: Ball,
    steps: int,
    step_size: float,
) -> Tensor:
    """Return the points after steps of steepest ascent within the ball.

    Parameters
    ----------
    victim
        The frozen model.
    clean, points
        (n, channels, h, w) centers of the balls, and starting points.
    loss
        Function from logits to a scalar, the sum over tiles.
    ball
        Norm and radius of the ball.
    steps, step_size
        Number of steps, and their length as a share of the radius.
    """
    for _ in range(steps):
        points = points.detach().requires_grad_()
        gradients = compute_input_gradients(victim(points), points, loss)
        stepped = points.detach() + step_size * ball.eps * normalize(gradients, ball.norm)
        points = project(stepped, clean, ball.eps, ball.norm)
    return points.detach()


def perturb_by_pgd(
    victim: nn.Module, images: Tensor, labels: Tensor, ball: Ball, steps: int, step_size: float
) -> Perturbed:
    """Return images perturbed by PGD on the cross-entropy from a random start.

    Parameters
    ----------
    victim
        The frozen model.
    images, labels
        (n, channels, h, w) images in [0, 1], and (n,) true classes.
    ball
        Norm and radius of the ball.
    steps, step_size
        Number of steps, and their length as a share of the radius.
    """
    start, loss = draw_start(images, ball), build_misclassification(labels)
    return Perturbed(ascend(victim, images, start, loss, ball, steps, step_size), steps)
