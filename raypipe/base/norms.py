"""Norms of perturbations, and the settings of a ball in a norm."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from raypipe.base.settings import Ratio, Settings

Norm = Literal["linf", "l2"]
"""A norm of balls: the largest change of any value, or the Euclidean length of the whole perturbation."""
StoredNorm = Literal["l0", "l2", "linf"]
"""A norm in which stored perturbations are measured: the number of changed values, or a norm as in `Norm`."""
STORED_NORMS: tuple[StoredNorm, ...] = ("l0", "l2", "linf")
AnyNorm = Literal["l0", "l1", "l2", "linf", "none"]
"""A norm as in `StoredNorm`, or the sum of the absolute changes, or no norm at all."""


class Ball(NamedTuple):
    """A ball around a tile that bounds an attack.

    Parameters
    ----------
    norm
        Norm of the ball.
    eps
        Radius of the ball, with pixels in [0, 1].
    """

    norm: Norm
    eps: float


class BallSettings(Settings):
    """The base of settings that have a ball.

    Parameters
    ----------
    norm
        Norm of the ball.
    eps
        Radius of the ball, with pixels in [0, 1]. A subclass gives the default for linf.

    Attributes
    ----------
    usual_eps
        Default radius by norm.
    """

    usual_eps: ClassVar[Mapping[Norm, float]]

    norm: Norm = "linf"
    eps: Ratio = Field(gt=0)

    @property
    def ball(self) -> Ball:
        """Ball that the settings define."""
        return Ball(self.norm, self.eps)

    @model_validator(mode="before")
    @classmethod
    def _fill_in_eps(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("norm") == "l2":
            return {"eps": cls.usual_eps["l2"], **values}
        return values

    @model_validator(mode="after")
    def _require_scaled_eps(self) -> Self:
        require_scaled(self.eps, self.norm)
        return self


def require_scaled(eps: float, norm: Norm) -> None:
    """Check that a radius is meant for pixels in [0, 1].

    Parameters
    ----------
    eps, norm
        Radius and norm of the ball.

    Raises
    ------
    ValueError
        If the norm is linf and the radius exceeds 1.
    """
    if norm == "linf" and eps > 1:
        raise ValueError(f"eps = {eps:g}: expected 0..1, pixels are scaled; did you mean {eps:g}/255?")
