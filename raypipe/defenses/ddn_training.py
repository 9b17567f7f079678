"""Adversarial training on minimal perturbations (Rony et al., 2019, arXiv:1811.09600, section 5): by `ddn`, cut at eps.

Each tile is moved just over the nearest boundary that `raypipe.attacks.ddn` finds, instead of to the edge of a ball;
what would be longer than eps is cut. As its authors do, training goes on from a model trained on clean tiles.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from raypipe.attacks.ddn import DecoupledDirectionNorm, decoupled_direction_norm
from raypipe.attacks.goal import Goal
from raypipe.attacks.norms import project
from raypipe.attacks.victim import Victim
from raypipe.defenses.online import Forward, OnlineTraining, Perturbed
from raypipe.models.backbone import classification_loss, main_logits
from raypipe.settings import Ratio
from raypipe.training.objective import Scored


class DdnTraining(OnlineTraining):
    """Settings of adversarial training on minimal perturbations, beside those of `OnlineTraining`.

    Parameters
    ----------
    norm
        Always ``l2``.
    eps
        Length of a perturbation at most.
    iterations
        Of `ddn` for every batch.
    """

    name: Literal["ddn_training"] = "ddn_training"
    norm: Literal["l2"] = "l2"
    eps: Ratio = Field(1.0, gt=0)
    iterations: int = Field(20, ge=1)

    @property
    def training_work(self) -> float:
        """The attack's passes, and those of the loss."""
        return self.iterations + super().training_work

    def perturb(self, victim: nn.Module, images: Tensor, labels: Tensor) -> Perturbed:
        """The shortest perturbations found."""
        attack = DecoupledDirectionNorm(max_iterations=self.iterations, levels=None)
        counting = Victim(victim, len(images), batch_size=len(images))
        # In half precision the gradients of a network that is sure of itself would vanish.
        with torch.autocast(images.device.type, enabled=False):
            found = decoupled_direction_norm(counting, images, Goal(labels), attack)
        return Perturbed(project(found, images, self.eps, self.norm), self.iterations)

    def loss(self, forward: Forward, images: Tensor, perturbed: Tensor, labels: Tensor) -> Scored:  # noqa: ARG002
        """The cross-entropy of the perturbed batch."""
        output = forward(perturbed)
        return Scored(classification_loss(output, labels), main_logits(output))
