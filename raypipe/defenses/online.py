"""What online adversarial training has in common: every batch is perturbed anew, against the model as it is just then.

The model is attacked in evaluation mode, as it will be used: its batch statistics then stay those of what it is trained
on, and no worker waits for another one's attack. Pang et al., 2021 (arXiv:2010.00467, section 3.4) find that this costs
no robustness and keeps more clean accuracy than attacking it in training mode.

The attack is a lean loop of its own instead of `raypipe.attacks.pgd`: all tiles take all steps, from starts drawn anew
every time, and nothing is saved of a tile that is fooled early.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.attacks.attack import Norm
from raypipe.attacks.norms import normalise, project, refuse_unscaled
from raypipe.attacks.tensors import per_tile
from raypipe.attacks.victim import frozen
from raypipe.defenses.adversarial_weights import with_adversarial_weights
from raypipe.defenses.defense import NamedDefense
from raypipe.settings import Ratio
from raypipe.training.objective import Objective, Scored, Shown, Shows, bare
from raypipe.training.recipe import Recipe

EPS: dict[Norm, float] = {"linf": 4 / 255, "l2": 0.5}
"""The usual bounds: in linf that of ImageNet on RobustBench (Croce et al., 2021, arXiv:2010.09670)."""
SCORE_STEPS, SCORE_BATCH = 10, 64
SLOPE = 3
"""Binary logarithm, rounded down, of the largest gradient at a tile's logits after scaling: far from both ends of what
half precision holds, 2 ** -24 and 2 ** 16."""
Forward = Callable[[Tensor], Any]
"""What a loss passes images through: the model, or the model with other weights."""


class Perturbed(NamedTuple):
    """A batch's perturbed images, and the passes that a tile took; there are as many backward ones."""

    images: Tensor
    passes: int


class OnlineTraining(NamedDefense):
    """The base of every online adversarial training's settings.

    Parameters
    ----------
    norm, eps
        The ball that training tiles are perturbed in, pixels in [0, 1]: 4/255 in linf and 0.5 in l2 by default.
    epochs, learning_rate
        Of the fine-tuning, which starts from the clean model; everything else is as in ``train``.
    awp
        Size of the adversarial perturbation of the weights, as a share of each layer's length; 0: none. Its authors
        take 0.005 to 0.01 (Wu, Xia and Wang, 2020, arXiv:2004.05884).
    early_stopping
        Whether to keep the epoch of the best robust accuracy on held-out training groups, under 10 steps of PGD from
        the tile itself, against robust overfitting (Rice, Wong and Kolter, 2020, arXiv:2002.11569).

    Attributes
    ----------
    shows_clean_tiles
        True where the network sees each tile clean beside perturbed.
    """

    learns_from_adversarials: ClassVar[bool] = False
    shows_clean_tiles: ClassVar[bool] = False

    norm: Norm = "linf"
    eps: Ratio = Field(EPS["linf"], gt=0)
    epochs: int = Field(5, ge=1)
    learning_rate: float = Field(5e-4, gt=0)
    awp: float = Field(0.0, ge=0)
    early_stopping: bool = False

    @model_validator(mode="before")
    @classmethod
    def _usual_eps(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("norm") == "l2":
            return {"eps": EPS["l2"], **values}
        return values

    @model_validator(mode="after")
    def _pixels_are_scaled(self) -> Self:
        refuse_unscaled(self.eps, self.norm)
        return self

    @property
    def keeps_best(self) -> bool:
        """As the settings say."""
        return self.early_stopping

    @property
    def training_work(self) -> float:
        """The loss, twice if weights are moved; attacks add theirs."""
        return 2 if self.awp else 1

    def recipe(self, base: Recipe) -> Recipe:
        """How the fine-tuning is done, given how the clean model was trained."""
        return base.model_copy(update={"epochs": self.epochs, "learning_rate": self.learning_rate})

    @abstractmethod
    def perturb(self, victim: nn.Module, images: Tensor, labels: Tensor) -> Perturbed:
        """The batch to train on.

        Parameters
        ----------
        victim
            Frozen, in evaluation mode.
        images, labels
            (n, channels, h, w) in [0, 1], and (n,).
        """

    @abstractmethod
    def loss(self, forward: Forward, images: Tensor, perturbed: Tensor, labels: Tensor) -> Scored:
        """What is minimised, calling `forward` once."""

    def shows(self) -> Shows:
        """Return how a batch is perturbed; the clean tiles come first where the loss sees both."""

        def make(model: nn.Module, images: Tensor, labels: Tensor) -> Shown:
            with frozen(model) as victim:
                perturbed, passes = self.perturb(victim, images, labels)
            return Shown(torch.cat([images, perturbed]) if self.shows_clean_tiles else perturbed, passes)

        clean = "clean tiles and " if self.shows_clean_tiles else ""
        return Shows(f"{clean}tiles perturbed by {self.name}", make)

    def objective(self, clean: nn.Module, recipe: Recipe) -> Objective:  # noqa: ARG002  the base's
        """The loss of a batch that is perturbed first."""

        def minimise(model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> Scored:  # noqa: ARG001
            with frozen(bare(model)) as victim:
                perturbed, passes = self.perturb(victim, images, labels)

            def loss(forward: Forward) -> Scored:
                return self.loss(forward, images, perturbed, labels)

            scored = loss(with_adversarial_weights(model, loss, self.awp) if self.awp else model)
            steps = 2 if self.awp else 1
            return scored._replace(
                forwards=passes + steps * scored.forwards, backwards=passes + steps * scored.backwards
            )

        return minimise

    def score(self, model: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
        """Robust accuracy within the ball."""
        device = next(model.parameters()).device
        right = 0
        with frozen(model) as victim:
            for begin in range(0, len(images), SCORE_BATCH):
                batch = np.ascontiguousarray(images[begin : begin + SCORE_BATCH].transpose(0, 3, 1, 2))
                clean = torch.from_numpy(batch).to(device).float() / 255
                truth = torch.from_numpy(labels[begin : begin + SCORE_BATCH]).to(device)
                points = ascend(victim, clean, clean, misclassification(truth), self, SCORE_STEPS, 0.25)
                with torch.no_grad():
                    right += int((victim(points).argmax(1) == truth).sum())
        return right / len(images)


def misclassification(labels: Tensor) -> Callable[[Tensor], Tensor]:
    """The cross-entropy of logits, summed: what most inner attacks maximise."""
    return lambda logits: F.cross_entropy(logits, labels, reduction="sum")


def random_start(clean: Tensor, ball: OnlineTraining) -> Tensor:
    """A point for each image, drawn uniformly from the ball around it and clipped to the box [0, 1]."""
    if ball.norm == "linf":
        offsets = 2 * torch.rand_like(clean) - 1
    else:
        radius = torch.rand(len(clean), device=clean.device) ** (1 / clean[0].numel())
        offsets = normalise(torch.randn_like(clean), "l2") * per_tile(radius, clean)
    return (clean + ball.eps * offsets).clamp(0, 1)


def input_gradients(logits: Tensor, points: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Return each tile's gradient of the loss, times a power of two of its own.

    Where a network is sure of itself, the loss hardly changes with the logits, and in half precision its gradient would
    vanish on the way back to the pixels. Only the gradient's direction matters to an attack, so each tile's gradient at
    the logits, taken in double precision, is scaled to a size that half precision holds.

    Parameters
    ----------
    logits
        (n, classes) of `points`.
    points
        (n, channels, h, w), which require gradients.
    loss
        Logits in double precision -> a scalar, the sum over tiles, that a shift of all of a tile's logits leaves
        alone, as cross-entropy and divergences are.
    """
    wide = logits.detach().double().requires_grad_()
    (slopes,) = torch.autograd.grad(loss(wide), wide)
    # They sum to 0, but rounding loses that of a class with nearly all of the probability: take it from the others.
    slopes = slopes.scatter_add(1, wide.argmax(1, keepdim=True), -slopes.sum(1, keepdim=True))
    largest = slopes.abs().amax(1, keepdim=True)
    doublings = torch.where(largest > 0, SLOPE - largest.log2().floor(), 0)
    (gradients,) = torch.autograd.grad(logits, points, torch.ldexp(slopes, doublings).to(logits.dtype))
    return gradients


def ascend(
    victim: nn.Module,
    clean: Tensor,
    points: Tensor,
    loss: Callable[[Tensor], Tensor],
    ball: OnlineTraining,
    steps: int,
    step_size: float,
) -> Tensor:
    """Steps of steepest ascent within the ball.

    Parameters
    ----------
    victim
        Frozen.
    clean, points
        (n, channels, h, w): the centres, and where to start.
    loss
        Logits -> a scalar, the sum over tiles.
    ball
        Its norm and radius.
    steps, step_size
        How many, and how long, as a share of the radius.
    """
    for _ in range(steps):
        points = points.detach().requires_grad_()
        gradients = input_gradients(victim(points), points, loss)
        stepped = points.detach() + step_size * ball.eps * normalise(gradients, ball.norm)
        points = project(stepped, clean, ball.eps, ball.norm)
    return points.detach()
