"""Defensive distillation (Papernot et al., 2016, arXiv:1511.04508): learn soft outputs; a known-weak control.

Training divides the logits by a temperature. Inference does not, so the logits are `temperature` times as large and the
gradient of the plain cross-entropy vanishes. Attacks that use the logits still succeed (Carlini and Wagner, 2017,
arXiv:1608.04644, section 8), so the sanity checks must detect this defense.

Difference from the paper: the teacher is the undefended model with its softmax at temperature 1. The authors train the
teacher at the temperature. The undefended model can replace it, because such training scales the logits up by the
factor by which the temperature divides them.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.defenses.base import Defense, TrainingSteps
from raypipe.models.backbones.base import compute_auxiliary_loss, main_logits
from raypipe.training.objective import StepLoss
from raypipe.training.recipe import Recipe


class DefensiveDistillation(Defense):
    """Settings of defensive distillation. The student starts where the training of the undefended model started.

    Parameters
    ----------
    temperature
        Temperature of the softmax in training, at least 1.
    epochs
        Number of epochs of the student's training.
    learning_rate
        Learning rate of the student's training. None means the learning rate of ``train``.
    """

    name: Literal["defensive_distillation"] = "defensive_distillation"
    temperature: float = Field(20.0, ge=1)
    epochs: int = Field(10, ge=1)
    learning_rate: float | None = Field(None, gt=0)

    @property
    def starts_anew(self) -> bool:
        """True: the student starts from the weights that the training of the undefended model started from."""
        return True

    def prepare_training(self, clean: nn.Module, recipe: Recipe, start: nn.Module) -> TrainingSteps:  # noqa: ARG002  The labels are soft.
        """Return steps on the cross-entropy with the teacher's predicted probabilities.

        The loss is multiplied by the temperature, because a larger temperature shrinks its gradient.
        """

        def minimize(model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> StepLoss:  # noqa: ARG001
            with torch.no_grad():
                taught = clean(images).softmax(1)
            output = model(images)
            logits = main_logits(output)
            loss = self.temperature * F.cross_entropy(logits / self.temperature, taught)
            return StepLoss(loss + compute_auxiliary_loss(output, labels), logits, forwards=2)

        return TrainingSteps(minimize)
