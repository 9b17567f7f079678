"""Interface of a backbone: an architecture by name, its published weights, and the loss of its training-mode output."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_CLASSES = 1000
AUXILIARY_WEIGHT = 0.3
"""Weight of auxiliary losses relative to the main one, in training only (Szegedy et al., 2014, arXiv:1409.4842)."""

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Published:
    """Published weights of an architecture.

    Parameters
    ----------
    mean, std
        Normalization that they were trained with, per channel.
    size
        Height and width of the images that they were trained on, in pixels.
    get
        Function that returns their tensors by name, from a cache or a download. It raises the errors of the download.
    source
        Place of publication, for messages.
    remedy
        Instructions if both the cache and the download fail, as ``download it ... and put it ...``.
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
        Function of the number of classes that returns a newly initialized network. The network maps normalized images
        (n, 3, h, w) to logits.
    published
        Function that returns its published weights by name. ``imagenet`` is among them if some have ImageNet's 1,000
        classes.
    transforms_input
        True if the published weights expect mean = std = 0.5 and convert ImageNet's normalization to it.
    added
        Parts of the names of parameters that weights from elsewhere may lack.
    size
        Function that returns the height and width of the images it is made for, in pixels. None if it takes any size
        and prefers none.
    digest
        Digest of the source file, if that is the user's own.
    require
        Function that raises ValueError if a package that the backbone needs is not installed.
    """

    build: Callable[[int], nn.Module]
    published: Callable[[], Mapping[str, Published]] = dict
    transforms_input: bool = False
    added: tuple[str, ...] = ()
    size: Callable[[], int | None] = lambda: None
    digest: str | None = None
    require: Callable[[], object] = lambda: None


def compute_classification_loss(output: Any, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy of a backbone's output in training mode, including auxiliary heads.

    Parameters
    ----------
    output
        Logits (n, classes), or logits followed by those of auxiliary heads in the same shape. The second form
        is a tuple, as from torchvision's GoogLeNet and Inception, or a mapping with the entry ``logits``. Auxiliary
        outputs of another shape are ignored.
    labels
        (n,) integer classes.
    smoothing
        Share of each label's weight that is spread evenly over all classes, in [0, 1).
    """
    main = F.cross_entropy(main_logits(output), labels, label_smoothing=smoothing)
    return main + compute_auxiliary_loss(output, labels, smoothing)


def compute_auxiliary_loss(output: Any, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the share of the auxiliary heads in `compute_classification_loss`, or 0 if there are none.

    The parameters are those of `compute_classification_loss`.
    """
    main, others = _split_heads(output)
    heads = [head for head in others if isinstance(head, Tensor) and head.shape == main.shape]
    losses = [F.cross_entropy(head, labels, label_smoothing=smoothing) for head in heads]
    return AUXILIARY_WEIGHT * sum(losses, main.new_zeros(()))


def main_logits(output: Any) -> Tensor:
    """Return the logits of the prediction, without those of auxiliary heads."""
    return _split_heads(output)[0]


def _split_heads(output: Any) -> tuple[Tensor, list[Any]]:
    if isinstance(output, Tensor):
        return output, []
    if isinstance(output, Mapping):
        return output["logits"], [head for name, head in output.items() if name != "logits"]
    main, *others = output
    return main, others
