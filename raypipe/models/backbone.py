"""What a backbone is: an architecture by name, its pretrained weights, and how its training-mode output is scored."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_CLASSES = 1000
AUXILIARY_WEIGHT = 0.3
"""Szegedy et al., 2014 (arXiv:1409.4842): auxiliary losses count 0.3 of the main one, in training only."""


class Unpublished(Enum):
    """The weights of an architecture that has none."""


@dataclass(frozen=True)
class Backbone:
    """An architecture.

    Parameters
    ----------
    build
        ``build(num_classes)`` returns a freshly initialised network: normalised images (n, 3, h, w) in, logits out.
    head
        Names of the parameters' prefixes that depend on the number of classes: not taken from pretrained weights.
    torchvision_weights
        The torchvision weights enumeration, whose members can be named in an experiment.
    transforms_input
        The published weights expect mean = std = 0.5 and convert to it from ImageNet's normalisation.
    added
        Names, or parts of names, of parameters that the published weights need not have.
    """

    build: Callable[[int], nn.Module]
    head: tuple[str, ...]
    torchvision_weights: Any
    transforms_input: bool = False
    added: tuple[str, ...] = ()


def classification_loss(output: Any, labels: Tensor) -> Tensor:
    """Cross-entropy of a backbone's output in training mode, GoogLeNet's auxiliary heads included.

    Parameters
    ----------
    output
        Logits (n, classes), or GoogLeNet's named tuple ``(logits, aux_logits2, aux_logits1)``.
    labels
        (n,) integers.
    """
    return F.cross_entropy(main_logits(output), labels) + auxiliary_loss(output, labels)


def auxiliary_loss(output: Any, labels: Tensor) -> Tensor:
    """The auxiliary heads' share of `classification_loss`: 0 where there are none. Parameters as there."""
    if isinstance(output, Tensor):
        return output.new_zeros(())
    heads = [head for head in (output.aux_logits1, output.aux_logits2) if head is not None]
    return AUXILIARY_WEIGHT * sum((F.cross_entropy(head, labels) for head in heads), output.logits.new_zeros(()))


def main_logits(output: Any) -> Tensor:
    """The logits that are the prediction, also where auxiliary heads come with them."""
    return output if isinstance(output, Tensor) else output.logits
