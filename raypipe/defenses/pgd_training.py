"""Adversarial training with PGD (Madry et al., 2018, arXiv:1706.06083): learn the worst point of every tile's ball."""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from raypipe.defenses.online import Forward, OnlineTraining, Perturbed, ascend, misclassification, random_start
from raypipe.models.backbone import classification_loss, main_logits
from raypipe.training.objective import Scored


class PgdTraining(OnlineTraining):
    """Settings of adversarial training with PGD, beside those of `raypipe.defenses.online.OnlineTraining`.

    Parameters
    ----------
    steps, step_size
        Of the attack, and their length as a share of `eps`: the authors' 7 steps, of 2/255 at 8/255.
    """

    name: Literal["pgd_training"] = "pgd_training"
    steps: int = Field(7, ge=1)
    step_size: float = Field(0.25, gt=0)

    @property
    def training_work(self) -> float:
        """The attack's passes, and those of the loss."""
        return self.steps + super().training_work

    def perturb(self, victim: nn.Module, images: Tensor, labels: Tensor) -> Perturbed:
        """PGD from a random start."""
        start, loss = random_start(images, self), misclassification(labels)
        return Perturbed(ascend(victim, images, start, loss, self, self.steps, self.step_size), self.steps)

    def loss(self, forward: Forward, images: Tensor, perturbed: Tensor, labels: Tensor) -> Scored:  # noqa: ARG002
        """The cross-entropy of the perturbed batch."""
        output = forward(perturbed)
        return Scored(classification_loss(output, labels), main_logits(output))
