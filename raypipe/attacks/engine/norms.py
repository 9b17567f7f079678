"""Perturbations bounded in a norm: the settings that say the bound, and the geometry of the ball within it."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from raypipe.attacks.base import Ball, Norm, TargetedAttack
from raypipe.attacks.engine.draws import generators
from raypipe.attacks.engine.tensors import TINY, lengths, per_tile
from raypipe.base.settings import Ratio

USUAL_EPS: dict[Norm, float] = {"linf": 8 / 255, "l2": 0.5}
"""The bounds that RobustBench (Croce et al., 2021, arXiv:2010.09670) uses for images of 32x32."""


class BoundedAttack(TargetedAttack):
    """The base of attacks whose perturbations may not leave a ball.

    Parameters
    ----------
    norm
        In which the ball is one.
    eps
        Its radius, with pixels in [0, 1]. ``linf``: by how much each value may change, up to 1; 8/255 by default.
        ``l2``: the length of a tile's perturbation over all its values, so that the same change of every value is
        longer on larger tiles; 0.5 by default.
    """

    norm: Norm = "linf"
    eps: Ratio = Field(USUAL_EPS["linf"], gt=0)

    @property
    def ball(self) -> Ball:
        """What the settings say."""
        return Ball(self.norm, self.eps)

    @model_validator(mode="before")
    @classmethod
    def _usual_eps(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("norm") == "l2":
            return {"eps": USUAL_EPS["l2"], **values}
        return values

    @model_validator(mode="after")
    def _pixels_are_scaled(self) -> Self:
        refuse_unscaled(self.eps, self.norm)
        return self


def at_radius(attack: BoundedAttack, eps: float, norm: Norm) -> BoundedAttack:
    """Return the same attack within another ball."""
    return attack.model_copy(update={"eps": eps, "norm": norm})


class IterativeAttack(BoundedAttack):
    """The base of attacks within a ball that can go on after a tile is fooled.

    Parameters
    ----------
    early_stop
        True: a tile is done as soon as it is fooled. False: the whole budget is spent on every tile, and of the points
        that fool the model the one with the largest loss is kept. Both fool the same tiles; those of the whole budget
        fool other models far more often. A run decides this for each set of tiles: it stops early only where no other
        model is shown the tiles (`raypipe.plan.graph`).
    """

    early_stop: bool = False

    def with_early_stop(self, early_stop: bool) -> Self:
        """Return the same attack with another `early_stop`."""
        return self.model_copy(update={"early_stop": early_stop})


def refuse_unscaled(eps: float, norm: Norm) -> None:
    """See that a radius is one for pixels in [0, 1].

    Parameters
    ----------
    eps, norm
        Of the ball.

    Raises
    ------
    ValueError
        If it is a linf radius beyond 1.
    """
    if norm == "linf" and eps > 1:
        raise ValueError(f"eps = {eps:g}: expected 0..1, pixels are scaled; did you mean {eps:g}/255?")


def sizes(perturbations: Tensor, norm: Norm) -> Tensor:
    """Length of each perturbation in a norm, (n,).

    Parameters
    ----------
    perturbations
        (n, ...).
    norm
        In which they are measured.
    """
    return perturbations.flatten(1).abs().amax(1) if norm == "linf" else lengths(perturbations)


def project(points: Tensor, clean: Tensor, eps: float, norm: Norm) -> Tensor:
    """Bring points into the box [0, 1], and then into the ball around the clean images, which keeps them in the box.

    Parameters
    ----------
    points, clean
        (n, ...).
    eps, norm
        Of the ball.
    """
    offsets = points.clamp(0, 1) - clean
    if norm == "linf":
        offsets = offsets.clamp(-eps, eps)
    else:
        offsets = offsets * per_tile((eps / lengths(offsets).clamp_min(TINY)).clamp_max(1), offsets)
    # A sum of floats may miss the edge of the box by a rounding.
    return (clean + offsets).clamp(0, 1)


def normalise(gradients: Tensor, norm: Norm) -> Tensor:
    """The direction of steepest ascent for steps of length 1 in a norm; zero where there is no gradient.

    Parameters
    ----------
    gradients
        (n, ...). Only their direction matters, however small they are.
    norm
        In which steps are measured.
    """
    if norm == "linf":
        return gradients.sign()
    # The squares of a small gradient vanish in float32; those of its multiple with a largest value of 1 do not.
    largest = gradients.flatten(1).abs().amax(1)
    scaled = gradients / per_tile(torch.where(largest > 0, largest, 1), gradients)
    return scaled / per_tile(lengths(scaled).clamp_min(TINY), gradients)


def random_points(clean: Tensor, eps: float, norm: Norm, key: str) -> Tensor:
    """A point for each image, drawn uniformly from the ball around it and clipped to the box [0, 1].

    Parameters
    ----------
    clean
        (n, ...) in [0, 1].
    eps, norm
        Of the ball.
    key
        As in `unit_ball_draws`.
    """
    return (clean + eps * unit_ball_draws(clean, norm, key)).clamp(0, 1)


def unit_ball_draws(images: Tensor, norm: Norm, key: str) -> Tensor:
    """A uniform draw from the ball of radius 1 around zero for each image, shaped like the images.

    Parameters
    ----------
    images
        (n, ...) in [0, 1]. What is drawn for one depends on its 8-bit pixels and on nothing beside it.
    norm
        Of the ball.
    key
        Another key, another draw; up to 64 bytes.
    """
    draws = [_draw(images.shape[1:], norm, generator) for generator in generators(images, key)]
    return torch.stack(draws).to(images.device)


def _draw(shape: torch.Size, norm: Norm, generator: torch.Generator) -> Tensor:
    """A uniform draw from the unit ball."""
    if norm == "linf":
        return 2 * torch.rand(shape, generator=generator) - 1
    direction = torch.randn(shape, generator=generator)
    radius = torch.rand(1, generator=generator) ** (1 / shape.numel())
    return normalise(direction[None], "l2")[0] * radius
