"""The threat model of an attack: the attacker's knowledge, limits and goal.

Every figure under attack holds only for its threat model.

References
----------
Carlini et al., 2019, arXiv:1902.06705, section 2.2.
"""

from dataclasses import dataclass
from typing import Literal

from raypipe.base.norms import AnyNorm
from raypipe.base.rounding import WHOLE, count_whole_steps, write_fraction

Knowledge = Literal["white-box", "transfer", "score-based", "decision-based", "none"]
"""Knowledge of the model that an attacker has: see `ThreatModel`."""
BLACK_BOX: tuple[Knowledge, ...] = ("score-based", "decision-based")
"""Knowledge of the attackers that only query the model. The queries of their attacks are counted."""


@dataclass(frozen=True)
class ThreatModel:
    """A threat model: the attacker's knowledge, limits and goal.

    Parameters
    ----------
    norm
        Norm that bounds the perturbations, or that the attack minimizes. ``l0`` counts values, not pixels. ``none``
        means that the attack uses no norm, for example if it rotates images or changes their stains.
    eps
        Bound that the settings request, with pixels in [0, 1]. None means that there is no bound.
    knowledge
        Knowledge of the model. ``white-box`` is everything, including gradients. ``score-based`` is the logits of
        images that the attacker chooses, and ``decision-based`` is only their predicted classes. ``transfer`` is
        knowledge of another model and none of this one. ``none`` is no model at all: changes are drawn at random.
    goal
        Goal that counts as success: any wrong class, or one class that the attacker chooses.
    precision
        Precision of the pixels in the evaluation: 8-bit images, or floats.
    limits
        Limits that no norm describes, as text; None if there are none.
    """

    norm: AnyNorm
    eps: float | None
    knowledge: Knowledge = "white-box"
    goal: Literal["untargeted", "targeted"] = "untargeted"
    precision: Literal["8-bit", "float"] = "8-bit"
    limits: str | None = None

    @property
    def stored_eps(self) -> float | None:
        """Bound that stored pixels keep to: see `compute_stored_radius`. None means that there is no bound."""
        return self.eps if self.eps is None or self.precision == "float" else compute_stored_radius(self.eps, self.norm)

    @property
    def bound(self) -> str:
        """Bound as text: ``linf <= 8/255``, ``minimal l2``, ``unbounded``, or limits that no norm describes."""
        if self.eps is not None:
            return f"{self.norm} {write_bound(self.eps, self.norm)}"
        return self.limits or ("unbounded" if self.norm == "none" else f"minimal {self.norm}")

    def __str__(self) -> str:
        """Return the text for tables, such as ``linf <= 8/255, white-box, untargeted, 8-bit``."""
        return f"{self.bound}, {self.knowledge}, {self.goal}, {self.precision}"


def compute_stored_radius(eps: float, norm: str) -> float:
    """Return the largest radius within `eps` that 8-bit pixels reach: in linf, whole steps of 1/255, 0 below one step.

    Parameters
    ----------
    eps, norm
        Requested radius, with pixels in [0, 1], and norm of the ball. In l2 the result is `eps` itself, because sums of
        steps come close to any length.
    """
    return count_whole_steps(eps) / 255 if norm == "linf" else eps


def write_bound(eps: float, norm: AnyNorm) -> str:
    """Return a bound as text, and the stored bound where it is smaller: ``<= 8/255``, ``<= 2.5/255, stored 2/255``.

    Parameters
    ----------
    eps, norm
        See `compute_stored_radius`.
    """
    stored = compute_stored_radius(eps, norm)
    requested = f"<= {write_radius(eps, norm)}"
    return f"{requested}, stored {255 * stored:.4g}/255" if 255 * (eps - stored) > WHOLE else requested


def write_radius(eps: float, norm: AnyNorm) -> str:
    """Return the shorter text of a bound: in linf, ``8/255`` instead of ``0.03137``, ``0.3`` instead of ``76.5/255``.

    Parameters
    ----------
    eps
        Bound, with pixels in [0, 1].
    norm
        Norm of the ball.
    """
    return write_fraction(eps) if norm == "linf" else f"{eps:.4g}"
