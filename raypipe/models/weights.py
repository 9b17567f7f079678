"""Pretrained weights: published ones by name, those of a local file, or none."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from raypipe.base.errors import UserError
from raypipe.base.settings import near_matches
from raypipe.models.backbones.base import Backbone, Published
from raypipe.models.backbones.lookup import get_backbone

FROM_SCRATCH = "none"


class WeightsError(UserError, RuntimeError):
    """Error for weights that are not available or do not fit the architecture. The message names the remedy."""


def check_weights(backbone: str, weights: str) -> None:
    """Validate the name of weights, before any worker starts.

    Raises
    ------
    ValueError
        If `weights` is neither ``none``, nor a published name of the backbone, nor an existing file.
    """
    names = [FROM_SCRATCH, *get_backbone(backbone).published()]
    if weights not in names and not _is_file(weights):
        raise ValueError(f"expected one of {', '.join(names)}, or an existing local file{near_matches(weights, names)}")


def pretrained_state(backbone: str, weights: str) -> dict[str, Tensor] | None:
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
    state = _fetch_weights(backbone, weights, published) if published else read_state(weights)
    body = _body(architecture)
    expected = {name: tensor for name, tensor in body.items() if not any(part in name for part in architecture.added)}
    wrong = [name for name, tensor in expected.items() if not _fits(state.get(name), tensor)]
    if wrong:
        raise WeightsError(
            f"weights {weights!r} are not those of a {backbone}: {len(wrong)} of {len(expected)} tensors are missing "
            f"or have another shape, first {wrong[0]!r}"
        )
    if strange := [name for name in expected if not torch.isfinite(state[name]).all()]:
        raise WeightsError(
            f"weights {weights!r}: {strange[0]!r} and {len(strange) - 1} other tensors hold NaN or infinity; take a "
            "checkpoint from before its training diverged"
        )
    return {name: state[name] for name, tensor in body.items() if _fits(state.get(name), tensor)}


def _body(architecture: Backbone) -> dict[str, Tensor]:
    """Return the tensors whose shape does not depend on the number of classes, by name."""
    two, three = (architecture.build(classes).state_dict() for classes in (2, 3))
    return {name: tensor for name, tensor in two.items() if tensor.shape == three[name].shape}


def _is_file(weights: str) -> bool:
    try:
        return Path(weights).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):  # a name that is too long, the home of an unknown user, a null byte
        return False


def read_state(path: str) -> dict[str, Tensor]:
    """Return the tensors of a file by name. Nothing in the file is executed.

    Prefixes that wrappers put before all names (``module.``, ``network.``) are removed.

    Raises
    ------
    WeightsError
        If the file cannot be read, or holds anything but tensors.
    """
    file = Path(path).expanduser()
    try:
        state: Any = load_file(file) if file.suffix == ".safetensors" else _load_torch(file)
    except pickle.UnpicklingError as error:  # torch's text explains how to run the file's content anyway
        raise WeightsError(
            f"cannot read weights from {file}: it holds other objects than tensors, and none of it was executed; give "
            "the file of a state_dict, best as .safetensors"
        ) from error
    except Exception as error:  # the loaders raise many types
        raise WeightsError(f"cannot read weights from {file}: {type(error).__name__}: {error}") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise WeightsError(
            f"cannot read weights from {file}: expected a state_dict, tensors by name, got a {type(state).__name__}"
        )
    return {name.removeprefix("module.").removeprefix("network."): tensor for name, tensor in state.items()}


def _fits(tensor: Any, expected: Tensor) -> bool:
    return (
        isinstance(tensor, Tensor)
        and tensor.shape == expected.shape
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_complex()
        and not tensor.is_quantized
    )


def _load_torch(file: Path) -> Any:
    return torch.load(file, map_location="cpu", weights_only=True)


def _fetch_weights(backbone: str, weights: str, published: Published) -> Mapping[str, Tensor]:
    try:
        return published.get()
    except Exception as error:  # downloads of torchvision and timm raise many types
        raise WeightsError(
            f"weights {weights!r} of {backbone} are not cached and {published.source} cannot be reached "
            f"({type(error).__name__}: {error}); {published.remedy}, or train from scratch with `weights: none`"
        ) from error
