"""Fast adversarial training (Wong, Rice and Kolter, 2020, arXiv:2001.03994): one step from a random start.

It costs two passes a batch instead of the eight of `pgd_training`. It may overfit to the single step, and then it
withstands that step alone (their section 5.4): the attacks anew tell.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from raypipe.defenses.online import Forward, OnlineTraining, Perturbed, ascend, misclassification, random_start
from raypipe.models.backbone import classification_loss, main_logits
from raypipe.training.objective import Scored


class FastTraining(OnlineTraining):
    """Settings of fast adversarial training, beside those of `raypipe.defenses.online.OnlineTraining`.

    Parameters
    ----------
    step_size
        Length of the step as a share of `eps`; the authors' 1.25.
    """

    name: Literal["fast_training"] = "fast_training"
    step_size: float = Field(1.25, gt=0)

    @property
    def training_work(self) -> float:
        """The attack's passes, and those of the loss."""
        return 1 + super().training_work

    def perturb(self, victim: nn.Module, images: Tensor, labels: Tensor) -> Perturbed:
        """One step."""
        start, loss = random_start(images, self), misclassification(labels)
        return Perturbed(ascend(victim, images, start, loss, self, 1, self.step_size), 1)

    def loss(self, forward: Forward, images: Tensor, perturbed: Tensor, labels: Tensor) -> Scored:  # noqa: ARG002
        """The cross-entropy of the perturbed batch."""
        output = forward(perturbed)
        return Scored(classification_loss(output, labels), main_logits(output))
