"""Pretrained weights: by their published name, from a local file, or none."""

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
    if weights in (FROM_SCRATCH, NEWEST) or weights in _published(backbone):
        return
    if not Path(weights).expanduser().is_file():
        names = [FROM_SCRATCH, NEWEST, *_published(backbone)]
        raise ValueError(f"expected one of {', '.join(names)}, or an existing local file{near_matches(weights, names)}")


def pretrained_state(backbone: str, weights: str) -> dict[str, Tensor] | None:
    """The state to start fine-tuning from; None for a start from scratch.

    Foreign files are read without executing anything in them (safetensors, or ``weights_only=True``).

    Raises
    ------
    WeightsError
        If published weights are neither cached nor can be downloaded, or if the file is of another architecture.
    """
    if weights == FROM_SCRATCH:
        return None
    state = _load_file(weights) if Path(weights).expanduser().is_file() else _download(backbone, weights)
    expected = BACKBONES[backbone].build(2).state_dict()
    head = BACKBONES[backbone].head
    wrong = [
        name
        for name, tensor in expected.items()
        if not name.startswith((*head, "aux")) and (name not in state or state[name].shape != tensor.shape)
    ]
    if wrong:
        raise WeightsError(
            f"weights {weights!r} are not those of a {backbone}: {len(wrong)} of {len(expected)} tensors are missing "
            f"or have another shape, first {wrong[0]!r}"
        )
    return state


def _published(backbone: str) -> list[str]:
    return list(BACKBONES[backbone].torchvision_weights.__members__)


def _load_file(path: str) -> dict[str, Tensor]:
    file = Path(path).expanduser()
    try:
        state: Any = load_file(file) if file.suffix == ".safetensors" else _load_torch(file)
    except Exception as error:  # the loaders raise many kinds
        raise WeightsError(f"cannot read weights from {file}: {error}") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    return {name.removeprefix("module.").removeprefix("network."): tensor for name, tensor in state.items()}


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
