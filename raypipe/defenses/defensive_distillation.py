"""Defensive distillation (Papernot et al., 2016, arXiv:1511.04508): learn a network's soft answers, at temperature.

At test time the temperature is gone, the logits are `temperature` times as large, and gradients of the plain
cross-entropy vanish; to attacks that follow the logits the network is as it was (Carlini and Wagner, 2017,
arXiv:1608.04644, section 8). It stands here to be caught.

Departure: the teacher is the clean model, whose softmax at temperature 1 stands for that of a network trained at the
temperature: what the temperature divides there, training has multiplied before.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.defenses.defense import NamedDefense
from raypipe.models.backbone import auxiliary_loss, main_logits
from raypipe.training.objective import Objective, Scored
from raypipe.training.recipe import Recipe


class DefensiveDistillation(NamedDefense):
    """Settings of defensive distillation. The student starts as the clean model did, not from it.

    Parameters
    ----------
    temperature
        Of the softmax in training.
    epochs
        Of the student's training.
    learning_rate
        Default: as in ``train``.
    """

    learns_from_adversarials: ClassVar[bool] = False
    starts_anew: ClassVar[bool] = True

    name: Literal["defensive_distillation"] = "defensive_distillation"
    temperature: float = Field(20.0, ge=1)
    epochs: int = Field(10, ge=1)
    learning_rate: float | None = Field(None, gt=0)

    def recipe(self, base: Recipe) -> Recipe:
        """How the student is trained, given how the clean model was."""
        rate = self.learning_rate or base.learning_rate
        return base.model_copy(update={"epochs": self.epochs, "learning_rate": rate})

    def objective(self, clean: nn.Module, recipe: Recipe) -> Objective:  # noqa: ARG002  the labels are soft
        """The cross-entropy of the teacher's answers, times the temperature, with which its gradient would shrink."""

        def minimise(model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> Scored:  # noqa: ARG001
            with torch.no_grad():
                taught = clean(images).softmax(1)
            output = model(images)
            logits = main_logits(output)
            loss = self.temperature * F.cross_entropy(logits / self.temperature, taught)
            return Scored(loss + auxiliary_loss(output, labels), logits, forwards=2)

        return minimise
