"""Tensors of a network from a file that some training program wrote, whatever it wrapped around them."""

import pickle
import warnings
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from raypipe.base.errors import UserError, notify
from raypipe.base.file_kinds import BEGINNING, describe_other_file
from raypipe.models.backbones.base import Channels

DEEPEST = 5
"""Number of mappings around the state that are looked through, as in ``{"checkpoint": {"model": state}}``."""
SHOWN = 5
"""Number of names that a message lists."""
ARCHIVE = b"PK"
"""Beginning of what `torch.save` writes."""


NORMALIZATION_NAMES = (("new_mean", "new_std"), ("mean", "std"), ("mu", "sigma"))
"""Names that wrappers of networks give to the tensors of their normalization: the package robustness (Engstrom et al.,
2019), RobustBench's and raypipe's, and those of Wong, Rice and Kolter (2020)."""
NORMALIZED_PLACES = ("", "module", "_orig_mod", "normalize", "normalizer", "normalization", "norm", "preprocess")
"""Names of the module that holds a normalization; without one of its own, the whole model does."""


class WeightsError(UserError, RuntimeError):
    """Error for weights that are not available or do not fit the architecture. The message names the remedy."""


def read_state(path: str, expected: Collection[str]) -> dict[str, Tensor]:
    """Return the tensors of a file by the network's own names. Nothing in the file is executed.

    The state may lie in another mapping, such as ``{"model": state, "epoch": 3}``, and its names may have a prefix in
    common, such as ``module.``, ``model.`` or ``_orig_mod.``. Of several states, the one that has most of the expected
    names is taken, and the first of equals. If another one differs from it, as an average of the weights does, a notice
    names both.

    Parameters
    ----------
    path
        Safetensors file, or a file of ``torch.save`` that holds tensors, numbers and text only.
    expected
        Names of the network's tensors.

    Raises
    ------
    WeightsError
        If the file cannot be read, or holds no state that has any of the names.
    """
    file = Path(path).expanduser()
    loaded = _load(file)
    if not isinstance(loaded, Mapping) or not all(isinstance(name, str) for name in loaded):
        raise WeightsError(
            f"cannot read weights from {file}: expected a state_dict, tensors by name, got a {type(loaded).__name__}"
        )
    found = [
        (count, place, {name.removeprefix(prefix): each for name, each in state.items() if name.startswith(prefix)})
        for place, state in _find_states(loaded, DEEPEST)
        for prefix, count in [_find_prefix(state, expected)]
    ]
    most = max(count for count, *_ in found)
    if not most:
        raise WeightsError(f"{file} holds none of the network's {len(expected)} tensors, but {_describe(loaded)}")
    (place, state), *others = [(place, state) for count, place, state in found if count == most]
    if different := [other for other, values in others if not _are_equal(state, values, expected)]:
        notify(
            f"{file} holds {len(different) + 1} states of this network that differ: {_name_place(place)} is taken, and "
            f"not {', '.join(map(_name_place, different))}; save the one that you mean in a file of its own"
        )
    return state


def find_extra(state: Mapping[str, Any], expected: Collection[str]) -> list[str]:
    """Return the tensors of a state that belong to larger modules than the network's own, sorted.

    A ResNet-34 has every tensor of a ResNet-18, and more in the same modules. Tensors of other modules, such as a loss,
    and single numbers, such as counters, say nothing about the network.
    """
    modules = {name.partition(".")[0] for name in expected}
    return sorted(
        name
        for name, value in state.items()
        if name not in expected
        and name.partition(".")[0] in modules
        and isinstance(value, Tensor)
        and value.numel() > 1
    )


def read_normalization(path: str) -> tuple[Channels, Channels] | None:
    """Return the mean and the standard deviation of the normalization that a file's model holds, or None.

    Adversarially trained networks are mostly published with their normalization, because their attacks are in [0, 1].

    Parameters
    ----------
    path
        File that `read_state` accepts.

    Raises
    ------
    WeightsError
        If the file cannot be read, or holds normalizations that differ.
    """
    file = Path(path).expanduser()
    loaded = _load(file)
    if not isinstance(loaded, Mapping) or not all(isinstance(name, str) for name in loaded):
        return None
    found = {pair for _, state in _find_states(loaded, DEEPEST) for pair in find_normalizations(state)}
    if len(found) > 1:
        raise WeightsError(f"{file} holds {len(found)} normalizations that differ; set mean and std")
    return found.pop() if found else None


def find_normalizations(state: Mapping[str, Any]) -> Iterator[tuple[Channels, Channels]]:
    """Yield the mean and the standard deviation of every normalization that a state has as tensors."""
    for mean, std in NORMALIZATION_NAMES:
        for name, value in state.items():
            place, _, last = name.rpartition(".")
            if last == mean and place.rpartition(".")[2] in NORMALIZED_PLACES:
                means, deviations = _read_channels(value), _read_channels(state.get(f"{place}.{std}" if place else std))
                if means and deviations and min(deviations) > 0:
                    yield means, deviations


def _read_channels(value: Any) -> Channels | None:
    """Return three channels to 6 digits, which remove the rounding of float32; None for anything else."""
    if not isinstance(value, Tensor) or value.numel() != 3 or not torch.isfinite(value).all():
        return None
    red, green, blue = (float(f"{channel:.6g}") for channel in value.flatten().tolist())
    return red, green, blue


def _load(file: Path) -> Any:
    beginning = b""
    try:
        with file.open("rb") as stream:
            beginning = stream.read(BEGINNING)
        if other := describe_other_file(beginning):
            raise WeightsError(f"cannot read weights from {file}: {other}")
        if file.suffix == ".safetensors":
            return load_file(file)
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of pickle's protocols
            return torch.load(file, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(f"cannot read weights from {file}: {error.strerror or error}") from error
    except pickle.UnpicklingError as error:  # torch's text explains how to run the file's content anyway
        raise WeightsError(
            f"cannot read weights from {file}: it holds other objects than tensors, and none of it was executed; give "
            "the file of a state_dict, best as .safetensors"
        ) from error
    except Exception as error:  # the loaders raise many types
        if zipfile.is_zipfile(file):
            raise WeightsError(
                f"cannot read weights from {file}: it is a zip archive, but none of torch.save; give the file of a "
                "state_dict, best as .safetensors"
            ) from error
        cut = "; the file may be cut off: fetch it again" if beginning.startswith(ARCHIVE) else ""
        raise WeightsError(f"cannot read weights from {file}: {type(error).__name__}: {error}{cut}") from error


def _find_states(mapping: Mapping[str, Any], depth: int, place: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield a mapping and those inside it whose names are all text, each with its place, as ``checkpoint.model``."""
    yield place, mapping
    for name, value in mapping.items() if depth else ():
        if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
            yield from _find_states(value, depth - 1, f"{place}.{name}" if place else name)


def _name_place(place: str) -> str:
    return repr(place) if place else "the outermost"


def _are_equal(one: Mapping[str, Any], other: Mapping[str, Any], names: Collection[str]) -> bool:
    """Return True if two states have the same tensors of these names."""
    return all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name])
        for name in names
        if isinstance(one.get(name), Tensor) and isinstance(other.get(name), Tensor)
    )


def _find_prefix(state: Mapping[str, Any], expected: Collection[str]) -> tuple[str, int]:
    """Return the prefix with which a state has most of the expected names, and their number."""
    names, counts = frozenset(expected), Counter[str]()
    for name, value in state.items():
        if isinstance(value, Tensor):
            beginnings = [0, *(place + 1 for place, letter in enumerate(name) if letter == ".")]
            counts.update(name[:begin] for begin in beginnings if name[begin:] in names)
    return max(counts.items(), key=lambda item: (item[1], -len(item[0])), default=("", 0))


def _describe(mapping: Mapping[str, Any]) -> str:
    shown = [f"{name!r} ({type(value).__name__})" for name, value in list(mapping.items())[:SHOWN]]
    more = f" and {len(mapping) - SHOWN} more" if len(mapping) > SHOWN else ""
    return (", ".join(shown) or "nothing") + more
