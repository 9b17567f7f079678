"""MART (Wang et al., 2020, ICLR, openreview rklOg6EFwS): TRADES with more weight on misclassified tiles.

Difference from the paper: clean and perturbed tiles pass through the network as one batch and share its statistics.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.attacks.engine.tensors import TINY
from raypipe.defenses.inner_attack import Perturbed, perturb_by_pgd
from raypipe.defenses.online import Forward, OnlineTraining
from raypipe.models.backbones.base import compute_auxiliary_loss, main_logits
from raypipe.training.objective import StepLoss


class Mart(OnlineTraining):
    """Settings of MART, beside those of `raypipe.defenses.online.OnlineTraining`.

    Parameters
    ----------
    beta
        Weight of the divergence between clean and perturbed tiles; the authors take 5.
    steps, step_size
        Number of steps of the attack, and their length as a share of `eps`.
    """

    shows_clean_tiles: ClassVar[bool] = True

    name: Literal["mart"] = "mart"
    beta: float = Field(5.0, ge=0)
    steps: int = Field(7, ge=1)
    step_size: float = Field(0.25, gt=0)

    def perturb(self, victim: nn.Module, images: Tensor, labels: Tensor) -> Perturbed:
        """Return tiles perturbed by PGD from a random point of the ball."""
        return perturb_by_pgd(victim, images, labels, self.ball, self.steps, self.step_size)

    def compute_loss(self, forward: Forward, images: Tensor, perturbed: Tensor, labels: Tensor) -> StepLoss:
        """Return the boosted cross-entropy plus the divergence, which is weighted by the doubt about the clean tile.

        The doubt is 1 minus the predicted probability of the true class.
        """
        output = forward(torch.cat([images, perturbed]))
        clean, other = main_logits(output).chunk(2)
        chances, own = other.softmax(1), labels[:, None]
        rival = chances.scatter(1, own, 0).amax(1)
        boosted = F.cross_entropy(other, labels) - (1 - rival).clamp_min(TINY).log().mean()
        doubt = 1 - clean.softmax(1).gather(1, own)[:, 0]
        apart = F.kl_div(other.log_softmax(1), clean.softmax(1), reduction="none").sum(1)
        loss = boosted + self.beta * (apart * doubt).mean() + compute_auxiliary_loss(output, labels.repeat(2))
        return StepLoss(loss, other, forwards=2, backwards=2)
