"""Fast adversarial training (Wong, Rice and Kolter, 2020, arXiv:2001.03994): learn tiles perturbed by one random step.

A step from a random point of the ball costs two passes per batch; `pgd_training` needs eight. The model may overfit to
the single step and be robust only to that step (section 5.4 of the paper). Adaptive attacks show if this happens.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from raypipe.defenses.inner_attack import Perturbed, perturb_by_pgd
from raypipe.defenses.online import OnlineTraining


class FastTraining(OnlineTraining):
    """Settings of fast adversarial training, beside those of `raypipe.defenses.online.OnlineTraining`.

    Parameters
    ----------
    step_size
        Length of the step as a share of `eps`; the authors take 1.25.
    """

    name: Literal["fast_training"] = "fast_training"
    step_size: float = Field(1.25, gt=0)

    def perturb(self, victim: nn.Module, images: Tensor, labels: Tensor) -> Perturbed:
        """Return tiles perturbed by one step from a random point of the ball."""
        return perturb_by_pgd(victim, images, labels, self.ball, 1, self.step_size)
