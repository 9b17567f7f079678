"""The base of each attack: settings by name, and a function from images to adversarial images."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Self

from torch import Tensor

from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.victim import Victim
from raypipe.base.settings import Settings

Target = Literal["runner_up", "random"]
"""A class to aim at: the likeliest wrong one on the clean image, or any wrong one, drawn from seed and pixels."""


Norm = Literal["linf", "l2"]
"""The largest change of any value, or the Euclidean length of the whole perturbation."""

AnyNorm = Literal["l0", "l1", "l2", "linf", "none"]
"""Also the number of changed values, the sum of their changes, or no norm at all."""

Knowledge = Literal["white-box", "transfer", "score-based", "decision-based"]
"""What an adversary knows of the model: see `raypipe.attacks.engine.threat.ThreatModel`."""


class Ball(NamedTuple):
    """How far an attack may go.

    Parameters
    ----------
    norm
        In which it is measured.
    eps
        The radius, with pixels in [0, 1].
    """

    norm: Norm
    eps: float


class NamedAttack(Settings):
    """The base of every attack's settings.

    Parameters
    ----------
    name
        The attack.
    backend
        Its implementation: ``raypipe``, or ``art`` for the Adversarial Robustness Toolbox.
    """

    name: str
    backend: Literal["raypipe", "art"]

    @property
    def ball(self) -> Ball | None:
        """The ball around a tile that even what is stored of it may not leave; None: there is no bound."""
        return None

    @property
    def minimises(self) -> AnyNorm:
        """The norm in which an attack without a ball makes perturbations as short as it can."""
        raise NotImplementedError(f"{type(self).__name__} has no ball: expected the norm that it minimises")

    @property
    def knowledge(self) -> Knowledge:
        """What the attack asks of the model."""
        return "white-box"

    def with_early_stop(self, early_stop: bool) -> Self:  # noqa: ARG002  for attacks that have a choice
        """Return the attack that leaves a tile at its first success, or the one that spends its whole budget on it.

        Early stop gives the same successes for fewer passes. The whole budget gives tiles that also fool other models.
        Minimal attacks have no such choice and return themselves.

        Parameters
        ----------
        early_stop
            True: leave a tile at its first success.
        """
        return self


class NativeAttack(NamedAttack):
    """The base of the settings of raypipe's own attacks."""

    backend: Literal["raypipe"] = "raypipe"


class TargetedAttack(NativeAttack):
    """The base of the settings of attacks that can also aim at a class.

    Parameters
    ----------
    target
        None: any class but the true one will do. Otherwise only the target counts as success.
    seed
        Of random targets, and of whatever else is drawn.
    """

    target: Target | None = None
    seed: int = 0


class Attack(NamedTuple):
    """An attack: its settings, and ``generate(victim, images, goal, settings)``, float images in and out.

    Images are (n, channels, h, w), float32 in [0, 1], on the victim's device. A tile that reaches the goal from the
    start comes back unchanged; one that could not be brought there comes back where it got to.
    """

    settings: type[NamedAttack]
    generate: Callable[[Victim, Tensor, Goal, Any], Tensor]
