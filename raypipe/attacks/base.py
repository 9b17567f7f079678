"""The base of each attack: settings with a name, and a function from images to adversarial images."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Self

from torch import Tensor

from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.victim import Victim
from raypipe.base.norms import AnyNorm, Ball
from raypipe.base.settings import Settings, get_default_name
from raypipe.base.threat import Knowledge

Target = Literal["runner_up", "random"]
"""A class to aim at: the likeliest wrong class on the clean image, or one drawn from the seed and the pixels."""


class NamedAttack(Settings):
    """The base of every attack's settings.

    Parameters
    ----------
    name
        Name of the attack.
    backend
        Implementation of the attack: ``raypipe``, or ``art`` for the Adversarial Robustness Toolbox.
    """

    name: str
    backend: Literal["raypipe", "art"]

    @property
    def ball(self) -> Ball | None:
        """Ball around a tile that even the stored 8-bit tile may not leave; None if the attack has no bound."""
        return None

    @property
    def minimizes(self) -> AnyNorm:
        """Norm that an attack without a ball minimizes."""
        raise NotImplementedError(f"{type(self).__name__} has no ball: expected the norm that it minimizes")

    @property
    def limits(self) -> str | None:
        """Limits of an attack that no norm describes, as text, such as ranges of stain amounts; None for other attacks.

        Tiles of such an attack are only rounded to 8 bits, because a longer perturbation could leave the limits.
        """
        return None

    @property
    def knowledge(self) -> Knowledge:
        """Knowledge of the model that the attack needs."""
        return "white-box"

    def with_early_stop(self, early_stop: bool) -> Self:  # noqa: ARG002  Attacks that have the choice use it.
        """Return the attack with early stop, or the attack that spends its whole budget on every tile.

        Early stop gives the same successes with fewer passes. The whole budget gives tiles that also fool other models.
        Minimal attacks have no such choice and return themselves.

        Parameters
        ----------
        early_stop
            True if the attack leaves a tile at its first success.
        """
        return self


class NativeAttack(NamedAttack):
    """The base of the settings of raypipe's own attacks."""

    backend: Literal["raypipe"] = "raypipe"


class TargetedAttack(NativeAttack):
    """The base of the settings of attacks that can aim at a class.

    Parameters
    ----------
    target
        Class to aim at; only this class counts as success. None means that any wrong class counts.
    seed
        Seed of random targets and of all other random draws.
    """

    target: Target | None = None
    seed: int = 0


class StoppableAttack(TargetedAttack):
    """The base of attacks that can continue after a tile is fooled.

    Parameters
    ----------
    early_stop
        True if the attack leaves a tile once the tile fools the model. False if it spends the whole budget on every
        tile, and keeps the point with the largest loss among those that fool the model. Both fool the same tiles, but
        tiles of the whole budget fool other models far more often. A run sets this for each set of tiles. It stops
        early only where the tiles are shown to no other model (`raypipe.plan.graph`).
    """

    early_stop: bool = False

    def with_early_stop(self, early_stop: bool) -> Self:
        """Return the attack with the given `early_stop`."""
        return self.model_copy(update={"early_stop": early_stop})


class Attack(NamedTuple):
    """An attack: its settings class, and its function ``generate(victim, images, goal, settings)``.

    The function takes and returns images (n, channels, h, w), float32 in [0, 1], on the victim's device. A tile that
    already reaches the goal is returned unchanged. A tile on which the attack fails is returned at the attack's best or
    last point.
    """

    settings: type[NamedAttack]
    generate: Callable[[Victim, Tensor, Goal, Any], Tensor]

    @property
    def name(self) -> str:
        """Name of the attack in experiments, the default of the field `name` of its settings."""
        return get_default_name(self.settings)
