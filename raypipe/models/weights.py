"""Pretrained weights: by their published name, from a local file, or none."""

import pickle
import urllib.error
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from raypipe.models import BACKBONES
from raypipe.settings import near_matches

FROM_SCRATCH = "none"
NEWEST = "imagenet"


class WeightsError(RuntimeError):
    """Weights that an experiment names are not at hand, or do not fit; the message says what to do."""


def check_weights(backbone: str, weights: str) -> None:
    """Say early that weights cannot be meant: before any worker starts.

    Raises
    ------
    ValueError
        If `weights` is neither ``none``, nor a published name of the backbone, nor an existing file.
    """
    published = _published(backbone)
    if weights == FROM_SCRATCH or weights in published or (published and weights == NEWEST):
        return
    if not _is_file(weights):
        names = [FROM_SCRATCH, *([NEWEST, *published] if published else [])]
        raise ValueError(f"expected one of {', '.join(names)}, or an existing local file{near_matches(weights, names)}")


def pretrained_state(backbone: str, weights: str) -> dict[str, Tensor] | None:
    """The state to start fine-tuning from; None for a start from scratch.

    Foreign files are read without executing anything in them (safetensors, or ``weights_only=True``).

    Raises
    ------
    WeightsError
        If published weights are neither cached nor can be downloaded, or if the file cannot be read, holds anything
        but tensors of finite numbers, or is of another architecture.
    """
    if weights == FROM_SCRATCH:
        return None
    state = read_state(weights) if _is_file(weights) else _download(backbone, weights)
    network, architecture = BACKBONES[backbone].build(2).state_dict(), BACKBONES[backbone]
    expected = {
        name: tensor
        for name, tensor in network.items()
        if not name.startswith((*architecture.head, "aux")) and not any(part in name for part in architecture.added)
    }
    wrong = [name for name, tensor in expected.items() if not _stands_for(state.get(name), tensor)]
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
    return state


def _published(backbone: str) -> list[str]:
    return list(BACKBONES[backbone].torchvision_weights.__members__)


def _is_file(weights: str) -> bool:
    try:
        return Path(weights).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):  # a name that is too long, ~nobody, a null byte
        return False


def read_state(path: str) -> dict[str, Tensor]:
    """The tensors of a file by name, read without executing anything in it.

    Prefixes that wrappers put before all names (``module.``, ``network.``) are left out.

    Raises
    ------
    WeightsError
        If it cannot be read, or holds anything but tensors.
    """
    file = Path(path).expanduser()
    try:
        state: Any = load_file(file) if file.suffix == ".safetensors" else _load_torch(file)
    except pickle.UnpicklingError as error:  # torch's text for it is on how to run what the file holds all the same
        raise WeightsError(
            f"cannot read weights from {file}: it holds other things than tensors, and nothing of it was run; give the "
            "file of a state_dict, best as .safetensors"
        ) from error
    except Exception as error:  # the loaders raise many kinds
        raise WeightsError(f"cannot read weights from {file}: {type(error).__name__}: {error}") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise WeightsError(
            f"cannot read weights from {file}: expected a state_dict, tensors by name, got a {type(state).__name__}"
        )
    return {name.removeprefix("module.").removeprefix("network."): tensor for name, tensor in state.items()}


def _stands_for(found: Any, expected: Tensor) -> bool:
    return (
        isinstance(found, Tensor)
        and found.shape == expected.shape
        and found.layout == torch.strided
        and found.device.type == "cpu"
        and not found.is_complex()
        and not found.is_quantized
    )


def _load_torch(file: Path) -> Any:
    return torch.load(file, map_location="cpu", weights_only=True)


def _download(backbone: str, weights: str) -> dict[str, Tensor]:
    enumeration = BACKBONES[backbone].torchvision_weights
    member = enumeration["DEFAULT" if weights == NEWEST else weights]
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(member.url).name
    try:
        state: dict[str, Tensor] = member.get_state_dict(progress=False, check_hash=True)
    except (urllib.error.URLError, OSError) as error:
        raise WeightsError(
            f"weights {weights!r} of {backbone} are not cached and {member.url} cannot be reached ({error}); download "
            f"it where there is a network and put it at {cached}, or give its path as `weights: /path/{cached.name}`, "
            "or train from scratch with `weights: none`"
        ) from error
    return state
