"""TRADES (Zhang et al., 2019, arXiv:1901.08573): be right on the tile, and say the same within its ball.

Departures: clean and perturbed tiles go through the network as one batch, and share its statistics.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.defenses.online import Forward, OnlineTraining, Perturbed, ascend
from raypipe.models.backbone import auxiliary_loss, main_logits
from raypipe.training.objective import Scored

START = 0.001
"""Standard deviation of the noise to start from: on the tile itself the divergence has no gradient."""


class Trades(OnlineTraining):
    """Settings of TRADES, beside those of `raypipe.defenses.online.OnlineTraining`.

    Parameters
    ----------
    beta
        Weight of saying the same, against that of being right: the authors' 6.
    steps, step_size
        Of the attack, and their length as a share of `eps`.
    """

    shows_clean_tiles: ClassVar[bool] = True

    name: Literal["trades"] = "trades"
    beta: float = Field(6.0, ge=0)
    steps: int = Field(7, ge=1)
    step_size: float = Field(0.25, gt=0)

    @property
    def training_work(self) -> float:
        """The attack's passes, and those of the loss."""
        return self.steps + 2 * super().training_work

    def perturb(self, victim: nn.Module, images: Tensor, labels: Tensor) -> Perturbed:  # noqa: ARG002
        """Where the model says something else than of the tile itself."""
        with torch.no_grad():
            said = victim(images).softmax(1)
        start = (images + START * torch.randn_like(images)).clamp(0, 1)

        def divergence(logits: Tensor) -> Tensor:
            return F.kl_div(logits.log_softmax(1), said, reduction="sum")

        return Perturbed(ascend(victim, images, start, divergence, self, self.steps, self.step_size), self.steps)

    def loss(self, forward: Forward, images: Tensor, perturbed: Tensor, labels: Tensor) -> Scored:
        """The cross-entropy of the tiles, and their divergence from the perturbed ones."""
        output = forward(torch.cat([images, perturbed]))
        clean, other = main_logits(output).chunk(2)
        apart = F.kl_div(other.log_softmax(1), clean.softmax(1), reduction="batchmean")
        loss = F.cross_entropy(clean, labels) + self.beta * apart + auxiliary_loss(output, labels.repeat(2))
        return Scored(loss, clean, forwards=2, backwards=2)
