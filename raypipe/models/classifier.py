"""Classifiers: a backbone with its preprocessing inside, so that everywhere else an image is a tile in [0, 1]."""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field, ValidationInfo, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.base.settings import Settings
from raypipe.models.backbones.base import Channels
from raypipe.models.backbones.lookup import get_backbone
from raypipe.models.state_files import WeightsError
from raypipe.models.transforms.base import InputTransform, build_input_transform
from raypipe.models.weights import FROM_SCRATCH, check_weights, find_normalization, load_pretrained_state

IMAGENET_NORMALIZATION = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OWN = "own"
"""Value of `resize` for the size that the network is made for."""


def _is_absent(value: object) -> bool:
    return value is None


class Model(Settings):
    """Settings of one model of an experiment.

    Parameters
    ----------
    name
        Name in `raypipe.models.backbones.BACKBONES`, or any classifier of torchvision or timm as ``torchvision:NAME``
        or ``timm:NAME``. ``module:PACKAGE.MODULE:FUNCTION`` is the user's own: the function gets the number of classes
        and returns a network, which maps normalized images (n, 3, h, w) to logits (n, classes). Importing it runs its
        code.
    weights
        ``none`` (from scratch), the name of published weights (``imagenet``, torchvision's ``IMAGENET1K_V1``, a tag of
        timm such as ``a1_in1k``), or a local ``.pth``, ``.pt`` or ``.safetensors`` file of the architecture.
    mean, std
        Normalization inside the model, per channel. Default: that of the published weights if `weights` names some, or
        that which a checkpoint holds beside its weights, otherwise the paper's 0.5.
    resize
        Height and width, in pixels, to which the model resizes its images, bilinearly and without aliasing. ``own`` is
        the size of the published weights, or the size that the network is made for. If not set, the network gets tiles
        in their own size.
    digest
        Digest of the source file of a ``module:``, without the files that this imports. It is part of the content key,
        so that a changed network is not mistaken for the old one. If it is set, as in the resolved experiment of a run,
        the file must have it.
    """

    name: str
    weights: str = FROM_SCRATCH
    mean: Channels = (0.5, 0.5, 0.5)
    std: Channels = (0.5, 0.5, 0.5)
    # Left out of content keys if not set, so that models that were trained before these settings existed keep their
    # keys.
    resize: int | None = Field(None, ge=8, le=4096, exclude_if=_is_absent)
    digest: str | None = Field(None, exclude_if=_is_absent)

    @model_validator(mode="before")
    @classmethod
    def _what_is_known_of_it(cls, settings: Any) -> Any:
        """Fill in the defaults that depend on the network.

        A wrong name or wrong weights are left to their own validators.
        """
        if not isinstance(settings, Mapping) or not isinstance(name := settings.get("name"), str):
            return settings
        try:
            backbone = get_backbone(name)
        except ValueError:
            return settings
        known: dict[str, Any] = {"digest": backbone.digest}
        weights = settings.get("weights", FROM_SCRATCH)
        if isinstance(weights, str) and not {"mean", "std"} <= settings.keys():
            try:
                normalization = find_normalization(name, weights)
            except WeightsError as error:
                raise ValueError(str(error)) from error
            known |= dict(zip(("mean", "std"), normalization, strict=True)) if normalization else {}
        return known | dict(settings)

    @field_validator("name")
    @classmethod
    def _require_known(cls, name: str) -> str:
        get_backbone(name)
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

    @field_validator("resize", mode="before")
    @classmethod
    def _own_size(cls, resize: Any, info: ValidationInfo) -> Any:
        if resize != OWN or "name" not in info.data:
            return None if resize == OWN else resize
        backbone = get_backbone(info.data["name"])
        published = backbone.published().get(info.data.get("weights", ""))
        size = published.size if published else backbone.size()
        if size is None:
            raise ValueError("the network prefers no size: give one in pixels, or leave it out")
        return size

    @field_validator("digest")
    @classmethod
    def _source_is_what_was_meant(cls, digest: str | None, info: ValidationInfo) -> str | None:
        if "name" in info.data:
            get_backbone(info.data["name"], digest)
        return digest


class Classifier(nn.Module):
    """A network with its preprocessing.

    The network gets its images with channels last in memory. CPUs and GPUs convolve these fastest.

    Parameters
    ----------
    network
        Network that maps normalized images (n, 3, h, w) to logits (n, classes).
    mean, std
        Normalization per channel, on the [0, 1] scale.
    input_transform
        Settings of an input transform that a defense adds, or None.
    resize
        Height and width, in pixels, to which images are resized first. None leaves them unchanged.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: Channels,
        std: Channels,
        input_transform: InputTransform | None = None,
        resize: int | None = None,
    ) -> None:
        super().__init__()
        self.resize = resize
        self.input_transform = build_input_transform(input_transform) if input_transform else None
        self.network = network
        self.normalization = (mean, std)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Any:
        """Return the logits (n, classes) of images (n, 3, h, w) in [0, 1].

        GoogLeNet in training mode adds its auxiliary heads.
        """
        return self.input_transform(images, self.classify) if self.input_transform else self.classify(images)

    def classify(self, images: Tensor) -> Any:
        """Return the output for images (n, 3, h, w) in [0, 1] without the input transform."""
        return self.network(self.preprocess(images))

    def preprocess(self, images: Tensor) -> Tensor:
        """Return the resized and normalized images from images (n, 3, h, w) in [0, 1]."""
        if self.resize:
            images = F.interpolate(images, (self.resize, self.resize), mode="bilinear", antialias=True)
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def build_classifier(model: Model, num_classes: int) -> Classifier:
    """Build a classifier in its state before fine-tuning.

    Raises
    ------
    raypipe.models.weights.WeightsError
        If the weights are not available, or are not of this architecture.
    ValueError
        If the network is the user's own and has changed or cannot be imported.
    """
    backbone = get_backbone(model.name, model.digest)
    network = backbone.build(num_classes)
    state = load_pretrained_state(model.name, model.weights)
    if state is not None:
        network.load_state_dict(network.state_dict() | dict(state))
    mean, std = model.mean, model.std
    if state is not None and backbone.transforms_input and (mean, std) == IMAGENET_NORMALIZATION:
        # torchvision's `transform_input` turns ImageNet's normalization into 0.5, 0.5, which is written here directly.
        mean = std = (0.5, 0.5, 0.5)
    return Classifier(network, mean, std, resize=model.resize)
