"""Interval bound propagation, IBP (Gowal et al., 2018, arXiv:1810.12715): train what can be proved, and prove it.

Half of the loss is that of the worst logits that interval bounds allow within a linf ball. Bounds are sound for plain
sequences of convolutions, linear layers, ReLU and pooling: the backbone `convnet`. Others are refused when the
experiment is read: through batch normalisation in training, or dozens of layers, the bounds would prove nothing.
"""

import copy
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.attacks.attack import Norm
from raypipe.defenses.defense import Certified, NamedDefense
from raypipe.models.bounds import margins, unbounded
from raypipe.models.classifier import Classifier
from raypipe.settings import Ratio
from raypipe.training.objective import Objective, Scored, bare
from raypipe.training.recipe import Recipe

HALVINGS = 14
"""Of the interval in which a tile's radius is looked for: to within 1/255 of 1/64."""
BATCH = 64


class IntervalBoundPropagation(NamedDefense):
    """Settings of training with interval bounds, which starts from the clean model.

    Parameters
    ----------
    eps
        Radius of the linf ball that is trained for, pixels in [0, 1].
    bound_weight
        Of the bounded loss at the end, in [0, 1]; the rest is the plain loss. The authors' 0.5.
    ramp
        Share of the fit over which `eps` and `bound_weight` grow from 0.
    epochs, learning_rate
        Of the training; bounds need many more epochs than a fine-tuning.
    """

    learns_from_adversarials: ClassVar[bool] = False
    certifies: ClassVar[Norm | None] = "linf"

    name: Literal["interval_bound_propagation"] = "interval_bound_propagation"
    eps: Ratio = Field(2 / 255, gt=0, le=1)
    bound_weight: float = Field(0.5, ge=0, le=1)
    ramp: float = Field(0.6, gt=0, le=1)
    epochs: int = Field(30, ge=1)
    learning_rate: float = Field(5e-4, gt=0)

    @property
    def training_work(self) -> float:
        """The images', and their box's two corners'."""
        return 3

    @property
    def proof_work(self) -> float:
        """A box a halving."""
        return 1 + 2 * HALVINGS

    def refusal(self, backbone: str) -> str | None:
        """Why its bounds are not known."""
        return unbounded(backbone)

    def recipe(self, base: Recipe) -> Recipe:
        """How the training is done, given how the clean model was trained."""
        return base.model_copy(update={"epochs": self.epochs, "learning_rate": self.learning_rate})

    def objective(self, clean: nn.Module, recipe: Recipe) -> Objective:  # noqa: ARG002  the base's
        """The plain and the bounded cross-entropy."""

        def minimise(model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> Scored:
            grown = min(1.0, progress / self.ramp)
            logits, inner = model(images), bare(model)
            assert isinstance(inner, Classifier)  # noqa: S101  the hardening's
            worst = -margins(inner, images, labels, grown * self.eps)
            bounded = F.cross_entropy(worst, labels)
            weight = grown * self.bound_weight
            loss = (1 - weight) * F.cross_entropy(logits, labels) + weight * bounded
            return Scored(loss, logits, forwards=3, backwards=3)

        return minimise

    @torch.no_grad()
    def certify(
        self,
        model: Classifier,
        images: NDArray[np.uint8],
        device: torch.device,
        seed: int,  # noqa: ARG002  nothing is drawn
    ) -> Certified:
        """The largest radius at which the bounds prove the predicted class, by halving, in double precision."""
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
                leads = margins(exact, tiles, predicted, middle).masked_fill(own, torch.inf)
                proved = leads.amin(1) > 0
                low, high = torch.where(proved, middle, low), torch.where(proved, high, middle)
            predictions.append(predicted.cpu().numpy())
            radii.append(low.cpu().numpy())
        passes = np.full(len(images), 1 + 2 * HALVINGS)
        return Certified(np.concatenate(predictions), np.concatenate(radii), passes)
