"""Backbones from timm and their published weights, by timm's names.

timm (Wightman, 2019, https://github.com/huggingface/pytorch-image-models) is an optional dependency of this package. It
is imported when one of its models is used.
"""

import functools
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from raypipe.models.backbones.base import IMAGENET_CLASSES, Backbone, Published


def list_timm() -> list[str]:
    """Return the names of all timm models.

    Raises
    ------
    ValueError
        If timm is not installed.
    """
    found: list[str] = _import_timm().list_models()
    return found


def from_timm(name: str) -> Backbone:
    """Return the backbone of a name in `list_timm`. timm is not imported before the backbone is used."""
    return Backbone(
        functools.partial(_build, name),
        functools.partial(_list_weights, name),
        size=functools.partial(_get_size, name),
        require=_import_timm,
    )


def _build(name: str, num_classes: int) -> nn.Module:
    network: nn.Module = _import_timm().create_model(name, pretrained=False, num_classes=num_classes)
    return network


def _get_size(name: str) -> int | None:
    configuration = _import_timm().get_pretrained_cfg(name, allow_unregistered=True)
    return configuration.input_size[-1] if configuration else None


@functools.cache
def _list_weights(name: str) -> Mapping[str, Published]:
    """Return the published weights by timm's tags.

    ``imagenet`` is timm's own default tag, if its weights were trained on ImageNet's classes.
    """
    timm = _import_timm()
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{name}.*")]
    found = {tag: _describe_weights(timm.get_pretrained_cfg(f"{name}.{tag}")) for tag in tags if tag}
    preferred = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if preferred and preferred.tag in found and preferred.num_classes == IMAGENET_CLASSES:
        return {"imagenet": found[preferred.tag], **found}
    return found


def _describe_weights(configuration: Any) -> Published:
    name = f"{configuration.architecture}.{configuration.tag}"

    def get() -> Mapping[str, Tensor]:
        network: nn.Module = _import_timm().create_model(name, pretrained=True)
        return network.state_dict()

    source = f"{configuration.hf_hub_id} of the Hugging Face Hub" if configuration.hf_hub_id else configuration.url
    return Published(
        tuple(configuration.mean),
        tuple(configuration.std),
        configuration.input_size[-1],
        get,
        source,
        "download its model.safetensors where there is a network and give its path as "
        "`weights: /path/model.safetensors`",
    )


def _import_timm() -> Any:
    try:
        import timm  # noqa: PLC0415  an optional dependency
    except ImportError as error:
        raise ValueError(f"needs timm, which cannot be imported ({error}): pip install 'raypipe[timm]'") from error
    return timm
