"""The threat model of an attack: what its adversary knows, may do and wants. No figure means anything without one.

Carlini et al., 2019, arXiv:1902.06705, section 2.2.
"""

from dataclasses import dataclass
from typing import Literal

from raypipe.attacks.base import AnyNorm, Knowledge, NamedAttack, TargetedAttack
from raypipe.attacks.engine.quantize import WHOLE, whole_steps


@dataclass(frozen=True)
class ThreatModel:
    """What the adversary knows, may do and wants.

    Parameters
    ----------
    norm
        In which perturbations are bounded, or as short as the attack can make them. ``l0`` counts values, not pixels.
        ``none``: the attack looks at no norm; it turns images, for instance.
    eps
        The bound that the settings request, with pixels in [0, 1]. None: there is none.
    knowledge
        ``white-box``: everything, the gradients too; ``score-based``: the logits for images of the adversary's choice;
        ``decision-based``: the predicted classes alone; ``transfer``: another model, and nothing of this one.
    goal
        What counts as success: any wrong class, or one class of the adversary's choosing.
    precision
        Of the pixels that the model is judged by: an image's 8 bits, or floats.
    """

    norm: AnyNorm
    eps: float | None
    knowledge: Knowledge = "white-box"
    goal: Literal["untargeted", "targeted"] = "untargeted"
    precision: Literal["8-bit", "float"] = "8-bit"

    @property
    def stored_eps(self) -> float | None:
        """The bound that stored pixels keep to: see `stored_radius`. None: there is none."""
        return self.eps if self.eps is None or self.precision == "float" else stored_radius(self.eps, self.norm)

    def __str__(self) -> str:
        """As tables have it: ``linf <= 8/255, white-box, untargeted, 8-bit``."""
        bound = "unbounded" if self.norm == "none" else f"minimal {self.norm}"
        if self.eps is not None:
            bound = f"{self.norm} {write_bound(self.eps, self.norm)}"
        return f"{bound}, {self.knowledge}, {self.goal}, {self.precision}"


def threat_of(settings: NamedAttack) -> ThreatModel:
    """The threat model of an attack on the model itself, as `raypipe.attacks.engine.generate` runs it.

    Parameters
    ----------
    settings
        The attack's. Tiles made against one model and shown to another have another threat model, by ``transfer``.

    Raises
    ------
    NotImplementedError
        If the settings name neither a ball nor a norm.
    """
    norm, eps = settings.ball or (settings.minimises, None)
    targeted = isinstance(settings, TargetedAttack) and settings.target is not None
    return ThreatModel(norm, eps, settings.knowledge, goal="targeted" if targeted else "untargeted")


def stored_radius(eps: float, norm: str) -> float:
    """Return the largest radius within `eps` that 8-bit pixels reach: in linf whole steps of 1/255, 0 below one step.

    Parameters
    ----------
    eps, norm
        The requested radius, with pixels in [0, 1], and the norm of the ball. In l2 it is `eps` itself: sums of steps
        come close to any length.
    """
    return whole_steps(eps) / 255 if norm == "linf" else eps


def write_bound(eps: float, norm: AnyNorm) -> str:
    """Write a bound, and the stored one where it is smaller: ``<= 8/255``, or ``<= 2.5/255, stored 2/255``.

    Parameters
    ----------
    eps, norm
        As in `stored_radius`.
    """
    stored = stored_radius(eps, norm)
    requested = f"<= {written(eps, norm)}"
    return f"{requested}, stored {255 * stored:.4g}/255" if 255 * (eps - stored) > WHOLE else requested


def written(eps: float, norm: AnyNorm) -> str:
    """A bound the shorter way: in linf, ``8/255`` instead of ``0.03137``, but ``0.3`` instead of ``76.5/255``.

    Parameters
    ----------
    eps
        The bound, with pixels in [0, 1].
    norm
        Of the ball.
    """
    plain = f"{eps:.4g}"
    return min(plain, f"{255 * eps:.4g}/255", key=len) if norm == "linf" else plain
