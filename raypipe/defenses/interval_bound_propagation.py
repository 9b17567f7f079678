"""Interval bound propagation (Gowal et al., 2018, arXiv:1810.12715): train with bounds, and certify in L-infinity.

Half of the loss is the loss of the worst logits that interval bounds allow within a ball. Bounds are sound for plain
sequences of convolutions, linear layers, ReLU and pooling: the backbones `convnet` and `convnet_medium`, or a network
of the user's own. Other backbones are incompatible. Through batch normalization in training, or through dozens of
layers, the bounds would prove nothing.
"""

import copy
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.base.norms import Norm
from raypipe.base.settings import Ratio
from raypipe.defenses.base import Certificates, CertifiedDefense, TrainingSteps
from raypipe.models.bounds import bound_margins, explain_missing_bounds
from raypipe.models.classifier import Classifier
from raypipe.training.objective import StepLoss, unwrap_ddp
from raypipe.training.recipe import Recipe

HALVINGS = 14
"""Number of bisections of the interval that contains a tile's radius; the error is 1/64 of 1/255."""
BATCH = 64


class IntervalBoundPropagation(CertifiedDefense):
    """Settings of training with interval bounds, which starts from the clean model.

    Parameters
    ----------
    eps
        Radius of the linf ball in training, with pixels in [0, 1].
    bound_weight
        Weight of the bounded loss at the end, in [0, 1]; the plain loss has the rest. The authors take 0.5.
    ramp
        Share of the fit over which `eps` and `bound_weight` grow from 0.
    epochs, learning_rate
        Settings of the training. Training with bounds needs many more epochs than a fine-tuning.
    """

    certified_norm: ClassVar[Norm] = "linf"

    name: Literal["interval_bound_propagation"] = "interval_bound_propagation"
    eps: Ratio = Field(2 / 255, gt=0, le=1)
    bound_weight: float = Field(0.5, ge=0, le=1)
    ramp: float = Field(0.6, gt=0, le=1)
    epochs: int = Field(30, ge=1)
    learning_rate: float = Field(5e-4, gt=0)

    def find_incompatibility(self, backbone: str) -> str | None:
        """Return the reason why a backbone has no known bounds, or None."""
        return explain_missing_bounds(backbone)

    def prepare_training(self, clean: nn.Module, recipe: Recipe, start: nn.Module) -> TrainingSteps:  # noqa: ARG002  The base class has them.
        """Return steps on the plain and the bounded cross-entropy."""

        def minimize(model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> StepLoss:
            grown = min(1.0, progress / self.ramp)
            logits, inner = model(images), unwrap_ddp(model)
            assert isinstance(inner, Classifier)  # noqa: S101  Hardening always passes a classifier.
            worst = -bound_margins(inner, images, labels, grown * self.eps)
            bounded = F.cross_entropy(worst, labels)
            weight = grown * self.bound_weight
            loss = (1 - weight) * F.cross_entropy(logits, labels) + weight * bounded
            return StepLoss(loss, logits, forwards=3, backwards=3)

        return TrainingSteps(minimize)

    @torch.no_grad()
    def certify(
        self,
        model: Classifier,
        images: NDArray[np.uint8],
        device: torch.device,
        seed: int,  # noqa: ARG002  There are no random draws.
    ) -> Certificates:
        """Return the largest radius at which the bounds prove the prediction, by bisection in double precision."""
        exact = copy.deepcopy(model).double()
        predictions, radii = [], []
        for begin in range(0, len(images), BATCH):
            batch = np.ascontiguousarray(images[begin : begin + BATCH].transpose(0, 3, 1, 2))
            tiles = torch.from_numpy(batch).to(device).double() / 255
            predicted = exact(tiles).argmax(1)
            own = F.one_hot(predicted, exact(tiles[:1]).shape[1]).bool()
            low, high = (torch.full((len(tiles),), edge, dtype=tiles.dtype, device=device) for edge in (0.0, 1.0))
            for _ in range(HALVINGS):
                middle = (low + high) / 2
                leads = bound_margins(exact, tiles, predicted, middle).masked_fill(own, torch.inf)
                proved = leads.amin(1) > 0
                low, high = torch.where(proved, middle, low), torch.where(proved, high, middle)
            predictions.append(predicted.cpu().numpy())
            radii.append(low.cpu().numpy())
        passes = np.full(len(images), 1 + 2 * HALVINGS)
        return Certificates(np.concatenate(predictions), np.concatenate(radii), passes)
