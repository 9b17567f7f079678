"""The loss of a training step: a function of the model and a batch, so that every defense uses the same loop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from raypipe.models.backbones.base import compute_classification_loss, main_logits


class StepLoss(NamedTuple):
    """The result of an objective on a batch.

    Parameters
    ----------
    loss
        Scalar to minimize.
    logits
        (n, classes) logits of the batch's images, perturbed or not. They give the training accuracy.
    forwards, backwards
        Numbers of passes of a tile through a network that this step has taken or will take, including its own.
    """

    loss: Tensor
    logits: Tensor
    forwards: int = 1
    backwards: int = 1


class StepInputs(NamedTuple):
    """The inputs that a training step shows the network.

    Parameters
    ----------
    inputs
        (m, channels, h, w) in [0, 1]: the batch's images, perturbed ones, or both.
    passes
        Number of forward passes per tile spent to make the inputs; there are as many backward passes.
    """

    inputs: Tensor
    passes: int = 0


@dataclass(frozen=True)
class InputRule:
    """A rule for the inputs that a training step shows the network.

    Parameters
    ----------
    inputs
        Name of the inputs, for the records.
    make
        Function that makes the inputs from the model, images (n, channels, h, w) in [0, 1] and labels (n,).
    """

    inputs: str
    make: Callable[[nn.Module, Tensor, Tensor], StepInputs]


class Objective(Protocol):
    """A loss to minimize. Its random numbers come from PyTorch's global generator, which every epoch seeds."""

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> StepLoss:
        """Return the loss and the logits of a batch.

        Parameters
        ----------
        model
            The model in training mode. With several workers it is wrapped for DDP and must be called once.
        images
            (n, channels, h, w), float32 in [0, 1].
        labels
            (n,) true classes.
        progress
            Finished share of the fit, in [0, 1).
        """


def cross_entropy(model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> StepLoss:  # noqa: ARG001
    """Return the cross-entropy of the unchanged images."""
    output = model(images)
    return StepLoss(compute_classification_loss(output, labels), main_logits(output))


def smoothed_cross_entropy(smoothing: float) -> Objective:
    """Return the cross-entropy loss with labels that keep `1 - smoothing` of their weight.

    The rest is spread evenly over all classes (Szegedy et al., 2016, arXiv:1512.00567, section 7).
    """

    def score(model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> StepLoss:  # noqa: ARG001
        output = model(images)
        return StepLoss(compute_classification_loss(output, labels, smoothing), main_logits(output))

    return score


def _keep_images(model: nn.Module, images: Tensor, labels: Tensor) -> StepInputs:  # noqa: ARG001
    return StepInputs(images)


TILES = InputRule("training tiles", _keep_images)
"""Rule that shows the network the training tiles themselves."""


def unwrap_ddp(model: nn.Module) -> nn.Module:
    """Return the model without its DDP wrapper, for passes in which no other worker takes part."""
    inner = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    assert isinstance(inner, nn.Module)  # noqa: S101  The type checker needs it.
    return inner
