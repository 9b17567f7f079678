"""Interval bounds of a network's logits within a box of images (Gowal et al., 2018, arXiv:1810.12715).

Every layer maps a box to a box that contains all outputs of the layer. That is exact for a single layer and loose for
many. In double precision, rounding errors are far below the precision to which a bound is rounded when it is used. They
are not accounted for.

The library auto_LiRPA would bound more kinds of networks. It is not used because no release supports a current PyTorch:
its newest one on PyPI, 0.3 of 2022, requires a version below 1.13 and cannot be imported with NumPy 2. Its repository
required a version below 2.9 in May 2026.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.models.backbones.lookup import get_backbone
from raypipe.models.classifier import Classifier

MONOTONE = (nn.ReLU, nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.MaxPool2d, nn.Flatten, nn.Identity)
"""Layers that map the corners of a box to the corners of its image."""


class Box(NamedTuple):
    """A box, by its center and the half lengths of its sides, both (n, ...)."""

    center: Tensor
    radius: Tensor


def explain_missing_bounds(backbone: str) -> str | None:
    """Return the reason why interval bounds are not known for a backbone, or None if they are.

    Parameters
    ----------
    backbone
        Name, as in `raypipe.models.backbones.lookup`.
    """
    network = get_backbone(backbone).build(2)
    layers = list(network) if isinstance(network, nn.Sequential) else [network]
    known = (*MONOTONE, nn.Conv2d, nn.Linear)
    strange = sorted({type(layer).__name__ for layer in layers if not isinstance(layer, known)})
    if not strange and isinstance(layers[-1], nn.Linear):
        return None
    return (
        "interval bounds need convolutions, linear layers, ReLU and pooling one after the other, and a linear layer at "
        f"the end; {backbone} is {', '.join(strange) or type(layers[-1]).__name__}"
    )


def bound_margins(classifier: Classifier, images: Tensor, labels: Tensor, eps: float | Tensor) -> Tensor:
    """Return lower bounds of the lead of the true class over each class, (n, classes).

    They hold within an L-infinity ball that is clipped to [0, 1].

    Parameters
    ----------
    classifier
        Classifier with a backbone for which `explain_missing_bounds` returns None, without an input transform.
    images
        (n, channels, h, w) in [0, 1].
    labels
        (n,) true classes. The lead of a class over itself is 0.
    eps
        Radius of the ball in [0, 1], or (n,) radii.
    """
    eps = torch.as_tensor(eps, dtype=images.dtype, device=images.device).view(-1, 1, 1, 1)
    low, high = (images - eps).clamp(0, 1), (images + eps).clamp(0, 1)
    low, high = (classifier.preprocess(edge) for edge in (low, high))  # monotone: no weight of a resize is negative
    box = Box((low + high) / 2, (high - low) / 2)
    assert isinstance(classifier.network, nn.Sequential)  # noqa: S101  as `explain_missing_bounds` has seen
    *layers, last = classifier.network
    for layer in layers:
        box = _propagate(layer, box)
    # Differences of logits are bounded, not logits, so the last layer is not loose (their section 3, "elision").
    assert isinstance(last, nn.Linear)  # noqa: S101
    leads = last.weight[labels][:, None] - last.weight[None]
    center = (leads @ box.center[:, :, None])[..., 0] + last.bias[labels][:, None] - last.bias
    lower: Tensor = center - (leads.abs() @ box.radius[:, :, None])[..., 0]
    return lower


def _propagate(layer: nn.Module, box: Box) -> Box:
    match layer:
        case nn.Conv2d():
            radius = F.conv2d(
                box.radius, layer.weight.abs(), None, layer.stride, layer.padding, layer.dilation, layer.groups
            )
            return Box(layer(box.center), radius)
        case nn.Linear():
            return Box(layer(box.center), F.linear(box.radius, layer.weight.abs()))
    low, high = layer(box.center - box.radius), layer(box.center + box.radius)
    return Box((low + high) / 2, (high - low) / 2)
