"""Robust preset (Rice, Wong and Kolter, 2020, arXiv:2002.11569): choose online adversarial training that fits a budget.

The preset is for users who do not want to choose. It turns a radius and a budget into the settings of a defense, which
the resolved experiment shows: PGD training whose radius rises, with the best epoch on held-out groups, and with as many
steps of the attack as the budget allows. jobs/frontier.yaml compares it with other defenses at equal cost.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from raypipe.base.norms import BallSettings, Norm
from raypipe.base.settings import Ratio
from raypipe.defenses.fast_training import FastTraining
from raypipe.defenses.online import OnlineTraining
from raypipe.defenses.pgd_training import PgdTraining

FEW, MANY = 40, 160
"""Budgets, in plain epochs, from which the attack takes 3 and 7 steps; with less it takes one. A fit then has at least
10 epochs, or 20 with 7 steps. The thresholds are a choice, and not measured."""
MOST_EPOCHS = 1000
"""Largest number of epochs of a fit with a time limit."""


class Robust(BallSettings):
    """Settings of the preset ``robust``.

    Parameters
    ----------
    norm, eps
        Ball in which the model should be robust, with pixels in [0, 1]. The default radius is 4/255 in linf and 0.5 in
        l2.
    epochs
        Budget: the fit takes as many passes as this number of epochs of plain training.
    seconds
        Budget as a time in seconds. It replaces `epochs`. The model then depends on the speed of the machine.
    """

    usual_eps: ClassVar[Mapping[Norm, float]] = OnlineTraining.usual_eps

    name: Literal["robust"] = "robust"
    eps: Ratio = Field(usual_eps["linf"], gt=0)
    epochs: int = Field(60, ge=2)
    seconds: float | None = Field(None, gt=0)

    def choose(self) -> OnlineTraining:
        """Return the defense with the settings that suit the budget."""
        if self.seconds:
            return self._train(3, MOST_EPOCHS)
        steps = 1 if self.epochs < FEW else 3 if self.epochs < MANY else 7
        return self._train(steps, self.epochs // (steps + 1))

    def _train(self, steps: int, epochs: int) -> OnlineTraining:
        shared = {
            "norm": self.norm,
            "eps": self.eps,
            "epochs": epochs,
            "seconds": self.seconds,
            "learning_rate": 2e-3,
            "eps_ramp": (0.0, 0.5),
            "early_stopping": True,
        }
        if steps == 1:
            return FastTraining.model_validate(shared)
        return PgdTraining.model_validate({**shared, "steps": steps, "step_size": 1.5 / steps})
