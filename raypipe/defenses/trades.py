"""TRADES (Zhang et al., 2019, arXiv:1901.08573): classify the tile correctly, and predict the same within its ball.

Difference from the paper: clean and perturbed tiles pass through the network as one batch and share its statistics.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.defenses.inner_attack import Perturbed, ascend
from raypipe.defenses.online import Forward, OnlineTraining
from raypipe.models.backbones.base import compute_auxiliary_loss, main_logits
from raypipe.training.objective import StepLoss

START = 0.001
"""Standard deviation of the noise of the starting points. On the tile itself the divergence has no gradient."""


class Trades(OnlineTraining):
    """Settings of TRADES, beside those of `raypipe.defenses.online.OnlineTraining`.

    Parameters
    ----------
    beta
        Weight of the divergence relative to the cross-entropy; the authors take 6.
    steps, step_size
        Number of steps of the attack, and their length as a share of `eps`.
    """

    shows_clean_tiles: ClassVar[bool] = True

    name: Literal["trades"] = "trades"
    beta: float = Field(6.0, ge=0)
    steps: int = Field(7, ge=1)
    step_size: float = Field(0.25, gt=0)

    def perturb(self, victim: nn.Module, images: Tensor, labels: Tensor) -> Perturbed:  # noqa: ARG002
        """Return perturbed tiles whose predictions differ most from those of the clean tiles."""
        with torch.no_grad():
            clean = victim(images).softmax(1)
        start = (images + START * torch.randn_like(images)).clamp(0, 1)

        def divergence(logits: Tensor) -> Tensor:
            return F.kl_div(logits.log_softmax(1), clean, reduction="sum")

        return Perturbed(ascend(victim, images, start, divergence, self.ball, self.steps, self.step_size), self.steps)

    def compute_loss(self, forward: Forward, images: Tensor, perturbed: Tensor, labels: Tensor) -> StepLoss:
        """Return the cross-entropy of the clean tiles plus the weighted divergence of the perturbed ones."""
        output = forward(torch.cat([images, perturbed]))
        clean, other = main_logits(output).chunk(2)
        apart = F.kl_div(other.log_softmax(1), clean.softmax(1), reduction="batchmean")
        loss = F.cross_entropy(clean, labels) + self.beta * apart + compute_auxiliary_loss(output, labels.repeat(2))
        return StepLoss(loss, clean, forwards=2, backwards=2)
