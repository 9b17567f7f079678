"""The loss of a training step: one function of the model and a batch, so that every defense uses the same loop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from raypipe.models.backbones.base import classification_loss, main_logits


class Scored(NamedTuple):
    """The result of an objective on a batch.

    Parameters
    ----------
    loss
        A scalar, to be minimized.
    logits
        (n, classes) of the batch's images, perturbed or not: the training accuracy is theirs.
    forwards, backwards
        Passes of a tile through a network that this took or will take, the step's own included.
    """

    loss: Tensor
    logits: Tensor
    forwards: int = 1
    backwards: int = 1


class Shown(NamedTuple):
    """The inputs that a training step shows the network.

    Parameters
    ----------
    inputs
        (m, channels, h, w) in [0, 1]: the batch's images, perturbed ones, or both.
    passes
        Forward passes per tile that making them took; there are as many backward ones.
    """

    inputs: Tensor
    passes: int = 0


@dataclass(frozen=True)
class Shows:
    """A rule that makes the inputs that a training step shows the network.

    Parameters
    ----------
    inputs
        A name for the inputs, for the record.
    make
        Makes them of the model, images (n, channels, h, w) in [0, 1] and labels (n,).
    """

    inputs: str
    make: Callable[[nn.Module, Tensor, Tensor], Shown]


class Objective(Protocol):
    """A loss to minimize. It draws random numbers from PyTorch's global generator, which every epoch seeds."""

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> Scored:
        """Score a batch.

        Parameters
        ----------
        model
            In training mode; wrapped for DDP if there are several workers, and then to be called once.
        images
            (n, channels, h, w), float32 in [0, 1].
        labels
            (n,) true classes.
        progress
            Share of the fit that is done, in [0, 1).
        """


def cross_entropy(model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> Scored:  # noqa: ARG001
    """The cross-entropy of the images as they are."""
    output = model(images)
    return Scored(classification_loss(output, labels), main_logits(output))


def smoothed_cross_entropy(smoothing: float) -> Objective:
    """Return the cross-entropy against labels that keep `1 - smoothing` of their weight.

    The rest is spread evenly over all classes (Szegedy et al., 2016, arXiv:1512.00567, section 7).
    """

    def score(model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> Scored:  # noqa: ARG001
        output = model(images)
        return Scored(classification_loss(output, labels, smoothing), main_logits(output))

    return score


def _unchanged(model: nn.Module, images: Tensor, labels: Tensor) -> Shown:  # noqa: ARG001
    return Shown(images)


TILES = Shows("training tiles", _unchanged)
"""The network sees the training tiles themselves."""


def bare(model: nn.Module) -> nn.Module:
    """The model itself, where it is wrapped for DDP: for passes that no other worker takes part in."""
    inner = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    assert isinstance(inner, nn.Module)  # noqa: S101  for the type checker
    return inner
