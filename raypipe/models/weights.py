"""Pretrained weights: published ones by name, those of a local file, or none."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from raypipe.base.settings import suggest_matches
from raypipe.models.backbones.base import Backbone, Channels, Published
from raypipe.models.backbones.lookup import get_backbone
from raypipe.models.state_files import WeightsError, find_extra, read_normalization, read_state

FROM_SCRATCH = "none"


def check_weights(backbone: str, weights: str) -> None:
    """Validate the name of weights, before any worker starts.

    Raises
    ------
    ValueError
        If `weights` is neither ``none``, nor a published name of the backbone, nor an existing file.
    """
    if weights == FROM_SCRATCH:  # the names of published weights take seconds, for the library that has them
        return
    names = [FROM_SCRATCH, *get_backbone(backbone).published()]
    if weights not in names and not _is_file(weights):
        raise ValueError(
            f"expected one of {', '.join(names)}, or an existing local file{suggest_matches(weights, names)}"
        )


def find_normalization(backbone: str, weights: str) -> tuple[Channels, Channels] | None:
    """Return the mean and the standard deviation that weights were trained with, or None if they are not known.

    Raises
    ------
    WeightsError
        If a file holds normalizations that differ.
    """
    if weights == FROM_SCRATCH:
        return None
    if published := get_backbone(backbone).published().get(weights):
        return published.mean, published.std
    if not _is_file(weights):
        return None
    return read_normalization(weights)


def load_pretrained_state(backbone: str, weights: str) -> dict[str, Tensor] | None:
    """Return the tensors that fine-tuning starts from, or None for a start from scratch.

    The head is left out, because its shapes depend on the number of classes. Files from elsewhere are read without
    executing anything in them (safetensors, or ``weights_only=True``).

    Raises
    ------
    WeightsError
        If published weights are neither cached nor can be downloaded. Also if the file cannot be read, holds anything
        but tensors of finite numbers, or is of another architecture.
    """
    if weights == FROM_SCRATCH:
        return None
    architecture = get_backbone(backbone)
    published = architecture.published().get(weights)
    body = _select_body(architecture)
    state = _fetch_weights(backbone, weights, published) if published else read_state(weights, body)
    expected = {name: tensor for name, tensor in body.items() if not any(part in name for part in architecture.added)}
    wrong = [name for name, tensor in expected.items() if not _fits(state.get(name), tensor)]
    if wrong:
        raise WeightsError(
            f"weights {weights!r} are not those of a {backbone}: {len(wrong)} of {len(expected)} tensors are missing "
            f"or have another shape, first {wrong[0]!r}"
        )
    if not published and (extra := find_extra(state, architecture.build(2).state_dict())):
        raise WeightsError(
            f"weights {weights!r} are those of a larger network than a {backbone}: they have {len(extra)} more tensors "
            f"in the same modules, first {extra[0]!r}; name the backbone that they were saved from"
        )
    if strange := [name for name in expected if not torch.isfinite(state[name]).all()]:
        raise WeightsError(
            f"weights {weights!r}: {strange[0]!r} and {len(strange) - 1} other tensors hold NaN or infinity; take a "
            "checkpoint from before its training diverged"
        )
    return {name: state[name] for name, tensor in body.items() if _fits(state.get(name), tensor)}


def find_head_parameters(backbone: str, digest: str | None = None) -> frozenset[str]:
    """Return the names of a network's parameters whose shape depends on the number of classes.

    Parameters
    ----------
    backbone, digest
        Name and digest as in `raypipe.models.classifier.Model`.
    """
    architecture = get_backbone(backbone, digest)
    body = _select_body(architecture)
    return frozenset(name for name, _ in architecture.build(2).named_parameters() if name not in body)


def _select_body(architecture: Backbone) -> dict[str, Tensor]:
    """Return the tensors whose shape does not depend on the number of classes, by name."""
    two, three = (architecture.build(classes).state_dict() for classes in (2, 3))
    return {name: tensor for name, tensor in two.items() if tensor.shape == three[name].shape}


def _is_file(weights: str) -> bool:
    try:
        return Path(weights).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):  # a name that is too long, the home of an unknown user, a null byte
        return False


def _fits(tensor: Any, expected: Tensor) -> bool:
    return (
        isinstance(tensor, Tensor)
        and tensor.shape == expected.shape
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_complex()
        and not tensor.is_quantized
    )


def _fetch_weights(backbone: str, weights: str, published: Published) -> Mapping[str, Tensor]:
    try:
        return published.get()
    except Exception as error:  # downloads of torchvision and timm raise many types
        raise WeightsError(
            f"weights {weights!r} of {backbone} are not cached and {published.source} cannot be reached "
            f"({type(error).__name__}: {error}); {published.remedy}, or train from scratch with `weights: none`"
        ) from error
