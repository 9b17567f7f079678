"""Backbones from torchvision and their published weights, by torchvision's names.

torchvision is imported when one of its models is used, without PyTorch's compiler.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from raypipe.models.backbones.base import Backbone, Published
from raypipe.models.backbones.defer_compiler import defer_compiler

AUXILIARY = ("googlenet", "inception_v3")
"""Names of networks with auxiliary heads, which give logits in training mode and nothing in evaluation mode. Their
published weights set ``transform_input``. It stays off, because the classifier around the network normalizes once."""


def list_torchvision() -> list[str]:
    """Return the names of all torchvision classifiers."""
    models = _import_models()
    return list(models.list_models(module=models))


def from_torchvision(name: str) -> Backbone:
    """Return the backbone of a name in `list_torchvision`."""
    auxiliary = name in AUXILIARY
    return Backbone(
        functools.partial(_build, name),
        functools.partial(_list_weights, name),
        transforms_input=auxiliary,
        added=("aux", "AuxLogits") if auxiliary else (),
        size=functools.partial(_get_size, name),
    )


def _build(name: str, num_classes: int) -> nn.Module:
    options = {"aux_logits": True, "transform_input": False, "init_weights": True} if name in AUXILIARY else {}
    network: nn.Module = _import_models().get_model(name, weights=None, num_classes=num_classes, **options)
    return network


def _get_size(name: str) -> int | None:
    return next((weights.size for weights in _list_weights(name).values()), None)


def _list_weights(name: str) -> Mapping[str, Published]:
    weights = _import_models().get_model_weights(name)
    if not (members := list(weights)):
        return {}
    newest = weights.DEFAULT
    return {"imagenet": _describe_weights(newest), **{member.name: _describe_weights(member) for member in members}}


def _describe_weights(member: Any) -> Published:
    shown = member.transforms()
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(member.url).name

    def get() -> Mapping[str, Tensor]:
        state: Mapping[str, Tensor] = member.get_state_dict(progress=False, check_hash=True)
        return state

    return Published(
        tuple(shown.mean),
        tuple(shown.std),
        shown.crop_size[0],
        get,
        member.url,
        f"download it where there is a network and put it at {cached}, or give its path as "
        f"`weights: /path/{cached.name}`",
    )


def _import_models() -> Any:
    with defer_compiler():
        import torchvision  # noqa: PLC0415  slow

    return torchvision.models
