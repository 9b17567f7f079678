"""Perturbations bounded in a norm: the settings of the bound, and the geometry of the ball."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from raypipe.attacks.base import StoppableAttack, TargetedAttack
from raypipe.attacks.engine.draws import make_generators
from raypipe.attacks.engine.tensors import TINY, measure_lengths, per_tile
from raypipe.base.norms import AnyNorm, Ball, BallSettings, Norm, require_scaled
from raypipe.base.settings import Ratio


class BoundedAttack(BallSettings, TargetedAttack):
    """The base of attacks whose perturbations may not leave a ball.

    Parameters
    ----------
    norm
        Norm of the ball.
    eps
        Radius of the ball, with pixels in [0, 1]. For ``linf`` it is the largest change of each value, at most 1; the
        default is 8/255. For ``l2`` it is the length of a tile's perturbation over all its values; the default is 0.5.
        The same change of every value is therefore longer on larger tiles.
    """

    usual_eps: ClassVar[Mapping[Norm, float]] = {"linf": 8 / 255, "l2": 0.5}
    """Bounds that RobustBench (Croce et al., 2021, arXiv:2010.09670) uses for images of 32x32 pixels."""

    eps: Ratio = Field(usual_eps["linf"], gt=0)


class MinimalAttack(TargetedAttack):
    """The base of attacks that search for the smallest perturbation in a norm, or for one within a bound.

    Parameters
    ----------
    norm
        Norm that the attack minimizes.
    eps
        Bound, as in `BoundedAttack`. The attack stops on a tile at the first success within the bound, and no success
        beyond it counts. None means that the attack is minimal.
    """

    norm: Norm = "linf"
    eps: Annotated[Ratio, Field(gt=0)] | None = None

    @property
    def ball(self) -> Ball | None:
        """Ball of the bound, or None if there is no bound."""
        return None if self.eps is None else Ball(self.norm, self.eps)

    @property
    def minimizes(self) -> AnyNorm:
        """Norm that the settings name."""
        return self.norm

    @model_validator(mode="after")
    def _is_scaled(self) -> Self:
        if self.eps is not None:
            require_scaled(self.eps, self.norm)
        return self


def replace_ball(attack: BoundedAttack, eps: float, norm: Norm) -> BoundedAttack:
    """Return the attack with another ball."""
    return attack.model_copy(update={"eps": eps, "norm": norm})


class IterativeAttack(BoundedAttack, StoppableAttack):
    """The base of attacks within a ball that can continue after a tile is fooled."""


def measure_sizes(perturbations: Tensor, norm: Norm) -> Tensor:
    """Return the length of each perturbation in a norm, (n,).

    Parameters
    ----------
    perturbations
        (n, ...) perturbations.
    norm
        Norm of the lengths.
    """
    return perturbations.flatten(1).abs().amax(1) if norm == "linf" else measure_lengths(perturbations)


def project(points: Tensor, clean: Tensor, eps: float, norm: Norm) -> Tensor:
    """Move points into the box [0, 1], and then into the ball around the clean images, which keeps them in the box.

    Parameters
    ----------
    points, clean
        (n, ...) points and clean images.
    eps, norm
        Radius and norm of the ball.
    """
    offsets = points.clamp(0, 1) - clean
    if norm == "linf":
        offsets = offsets.clamp(-eps, eps)
    else:
        offsets = offsets * per_tile((eps / measure_lengths(offsets).clamp_min(TINY)).clamp_max(1), offsets)
    # Rounding may move the sum of two floats slightly out of the box.
    return (clean + offsets).clamp(0, 1)


def normalize(gradients: Tensor, norm: Norm) -> Tensor:
    """Return the direction of steepest ascent, as a step of length 1 in a norm; zero where the gradient is zero.

    Parameters
    ----------
    gradients
        (n, ...) gradients. Only their direction matters, even if they are very small.
    norm
        Norm of the steps.
    """
    if norm == "linf":
        return gradients.sign()
    # The squares of a small gradient vanish in float32. After scaling its largest value to 1 they do not.
    largest = gradients.flatten(1).abs().amax(1)
    scaled = gradients / per_tile(torch.where(largest > 0, largest, 1), gradients)
    return scaled / per_tile(measure_lengths(scaled).clamp_min(TINY), gradients)


def draw_points(clean: Tensor, eps: float, norm: Norm, key: str) -> Tensor:
    """Return a point for each image, drawn uniformly from the ball around it and clipped to the box [0, 1].

    Parameters
    ----------
    clean
        (n, ...) in [0, 1].
    eps, norm
        Radius and norm of the ball.
    key
        Key of the draw; see `draw_from_unit_ball`.
    """
    return (clean + eps * draw_from_unit_ball(clean, norm, key)).clamp(0, 1)


def draw_from_unit_ball(images: Tensor, norm: Norm, key: str) -> Tensor:
    """Return a uniform draw from the ball of radius 1 around zero for each image, with the shape of the images.

    Parameters
    ----------
    images
        (n, ...) in [0, 1]. The draw of an image depends only on its 8-bit pixels and the key.
    norm
        Norm of the ball.
    key
        Key of the draw, up to 64 bytes. Another key gives another draw.
    """
    draws = [_draw(images.shape[1:], norm, generator) for generator in make_generators(images, key)]
    return torch.stack(draws).to(images.device)


def _draw(shape: torch.Size, norm: Norm, generator: torch.Generator) -> Tensor:
    """Return a uniform draw from the unit ball."""
    if norm == "linf":
        return 2 * torch.rand(shape, generator=generator) - 1
    direction = torch.randn(shape, generator=generator)
    radius = torch.rand(1, generator=generator) ** (1 / shape.numel())
    return normalize(direction[None], "l2")[0] * radius
