"""DDN training (Rony et al., 2019, arXiv:1811.09600): learn the shortest L2 perturbations that fool the model.

`raypipe.attacks.ddn` moves each tile just across the nearest decision boundary, not to the edge of a ball.
Perturbations longer than `eps` are shortened to `eps`. As in section 5 of the paper, training starts from the
undefended model.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from raypipe.attacks.ddn import DecoupledDirectionNorm, decoupled_direction_norm
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.norms import project
from raypipe.attacks.engine.victim import Victim
from raypipe.base.settings import Ratio
from raypipe.defenses.inner_attack import Perturbed
from raypipe.defenses.online import OnlineTraining


class DdnTraining(OnlineTraining):
    """Settings of adversarial training on minimal perturbations, beside those of `OnlineTraining`.

    Parameters
    ----------
    norm
        Norm of the perturbations, always ``l2``.
    eps
        Largest L2 length of a perturbation.
    iterations
        Number of iterations of `ddn` for each batch.
    """

    name: Literal["ddn_training"] = "ddn_training"
    norm: Literal["l2"] = "l2"
    eps: Ratio = Field(1.0, gt=0)
    iterations: int = Field(20, ge=1)

    def perturb(self, victim: nn.Module, images: Tensor, labels: Tensor) -> Perturbed:
        """Return the tiles with the shortest perturbations that DDN found, within the ball."""
        attack = DecoupledDirectionNorm(max_iterations=self.iterations, levels=None)
        counting = Victim(victim, len(images), batch_size=len(images))
        # In half precision the gradients of a confident network would vanish.
        with torch.autocast(images.device.type, enabled=False):
            found = decoupled_direction_norm(counting, images, Goal(labels), attack)
        return Perturbed(project(found, images, self.eps, self.norm), self.iterations)
