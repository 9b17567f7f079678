"""PGD training (Madry et al., 2018, arXiv:1706.06083): learn the worst point of each tile's ball."""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from raypipe.defenses.inner_attack import Perturbed, perturb_by_pgd
from raypipe.defenses.online import OnlineTraining


class PgdTraining(OnlineTraining):
    """Settings of adversarial training with PGD, beside those of `raypipe.defenses.online.OnlineTraining`.

    Parameters
    ----------
    steps, step_size
        Number of steps of the attack, and their length as a share of `eps`. The authors take 7 steps of 2/255 at 8/255.
    """

    name: Literal["pgd_training"] = "pgd_training"
    steps: int = Field(7, ge=1)
    step_size: float = Field(0.25, gt=0)

    def perturb(self, victim: nn.Module, images: Tensor, labels: Tensor) -> Perturbed:
        """Return tiles perturbed by PGD from a random point of the ball."""
        return perturb_by_pgd(victim, images, labels, self.ball, self.steps, self.step_size)
