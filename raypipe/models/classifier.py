"""A classifier: a backbone with its normalisation inside, so that everywhere else an image is [0, 1]."""

from typing import Any

import torch
from pydantic import ValidationInfo, field_validator
from torch import Tensor, nn

from raypipe.models import BACKBONES
from raypipe.models.fronts import Front, build_front
from raypipe.models.weights import check_weights, pretrained_state
from raypipe.settings import Settings, near_matches

IMAGENET_NORMALIZATION = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Channels = tuple[float, float, float]


class Model(Settings):
    """One backbone of an experiment.

    Parameters
    ----------
    name
        A name in `raypipe.models.BACKBONES`.
    weights
        ``none`` (from scratch), the name of published weights (``imagenet``, ``IMAGENET1K_V1``), or a local ``.pth``,
        ``.pt`` or ``.safetensors`` file of the architecture.
    mean, std
        Of the normalisation inside the model, per channel; the paper's 0.5.
    """

    name: str
    weights: str = "none"
    mean: Channels = (0.5, 0.5, 0.5)
    std: Channels = (0.5, 0.5, 0.5)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in BACKBONES:
            raise ValueError(f"unknown backbone, expected one of {', '.join(BACKBONES)}{near_matches(name, BACKBONES)}")
        return name

    @field_validator("std")
    @classmethod
    def _positive(cls, std: Channels) -> Channels:
        if min(std) <= 0:
            raise ValueError("expected values larger than 0")
        return std

    @field_validator("weights")
    @classmethod
    def _weights_can_be_meant(cls, weights: str, info: ValidationInfo) -> str:
        if "name" in info.data:
            check_weights(info.data["name"], weights)
        return weights


class Classifier(nn.Module):
    """A network behind its normalisation.

    Parameters
    ----------
    network
        Normalised images (n, 3, h, w) in, logits (n, classes) out.
    mean, std
        Per channel, on the [0, 1] scale.
    front
        What a defense puts around all that.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Channels, std: Channels, front: Front | None = None) -> None:
        super().__init__()
        self.front = build_front(front) if front else None
        self.network = network
        self.normalization = (mean, std)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Any:
        """Logits (n, classes) of images (n, 3, h, w) in [0, 1]; GoogLeNet in training mode adds its auxiliary heads."""
        return self.front(images, self.classify) if self.front else self.classify(images)

    def classify(self, images: Tensor) -> Any:
        """The same without the layer around it."""
        return self.network((images - self.mean) / self.std)


def build_classifier(model: Model, num_classes: int) -> Classifier:
    """A classifier as it is before fine-tuning.

    Raises
    ------
    raypipe.models.weights.WeightsError
        If the weights are not at hand, or not this architecture's.
    """
    backbone = BACKBONES[model.name]
    network = backbone.build(num_classes)
    state = pretrained_state(model.name, model.weights)
    if state is not None:
        own = network.state_dict()
        taken = {k: v for k, v in state.items() if k in own and not k.startswith(backbone.head)}
        network.load_state_dict({**own, **taken})
    mean, std = model.mean, model.std
    if state is not None and backbone.transforms_input and (mean, std) == IMAGENET_NORMALIZATION:
        # torchvision's `transform_input` turns ImageNet's normalisation into 0.5, 0.5: we write what it amounts to.
        mean = std = (0.5, 0.5, 0.5)
    return Classifier(network, mean, std)
