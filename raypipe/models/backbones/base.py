"""What a backbone is: an architecture by name, its published weights, and how its training-mode output is scored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_CLASSES = 1000
AUXILIARY_WEIGHT = 0.3
"""Szegedy et al., 2014 (arXiv:1409.4842): auxiliary losses count 0.3 of the main one, in training only."""

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Published:
    """Weights of an architecture that somebody published.

    Parameters
    ----------
    mean, std
        Of the normalisation that they were trained with, per channel.
    size
        Height and width of the images that they were trained on, in pixels.
    get
        Their tensors by name, from a cache or from where they were published; whatever a download raises.
    source
        Where that is, for people.
    remedy
        What to do where they can be had neither way, as ``download it ... and put it ...``.
    """

    mean: Channels
    std: Channels
    size: int
    get: Callable[[], Mapping[str, Tensor]]
    source: str
    remedy: str


@dataclass(frozen=True)
class Backbone:
    """An architecture.

    Parameters
    ----------
    build
        ``build(num_classes)`` returns a freshly initialised network: normalised images (n, 3, h, w) in, logits out.
    published
        Its published weights by name, ``imagenet`` among them if it has any of ImageNet's 1,000 classes.
    transforms_input
        The published weights expect mean = std = 0.5 and convert to it from ImageNet's normalisation.
    added
        Parts of names of parameters that weights from elsewhere need not have.
    size
        Height and width of the images it is made for, in pixels; None if it takes any and prefers none.
    digest
        Of the source file, where that is the user's own.
    require
        Raises ValueError where a package that it needs is not installed.
    """

    build: Callable[[int], nn.Module]
    published: Callable[[], Mapping[str, Published]] = dict
    transforms_input: bool = False
    added: tuple[str, ...] = ()
    size: Callable[[], int | None] = lambda: None
    digest: str | None = None
    require: Callable[[], object] = lambda: None


def classification_loss(output: Any, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of a backbone's output in training mode, auxiliary heads included.

    Parameters
    ----------
    output
        Logits (n, classes); or logits and then others of the same shape from auxiliary heads, as a tuple, which is what
        torchvision's GoogLeNet and Inception give, or as a mapping with the entry ``logits``. What has another shape is
        not scored.
    labels
        (n,) integers.
    smoothing
        Share of each label's weight that is spread evenly over all classes, in [0, 1).
    """
    main = F.cross_entropy(main_logits(output), labels, label_smoothing=smoothing)
    return main + auxiliary_loss(output, labels, smoothing)


def auxiliary_loss(output: Any, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """The auxiliary heads' share of `classification_loss`: 0 where there are none. Parameters as there."""
    main, others = _heads(output)
    heads = [head for head in others if isinstance(head, Tensor) and head.shape == main.shape]
    losses = [F.cross_entropy(head, labels, label_smoothing=smoothing) for head in heads]
    return AUXILIARY_WEIGHT * sum(losses, main.new_zeros(()))


def main_logits(output: Any) -> Tensor:
    """The logits that are the prediction, also where auxiliary heads come with them."""
    return _heads(output)[0]


def _heads(output: Any) -> tuple[Tensor, list[Any]]:
    if isinstance(output, Tensor):
        return output, []
    if isinstance(output, Mapping):
        return output["logits"], [head for name, head in output.items() if name != "logits"]
    main, *others = output
    return main, others
