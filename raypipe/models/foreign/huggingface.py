"""Image classifiers of transformers (Wolf et al., 2020, arXiv:1910.03771), from the folder of `save_pretrained`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from raypipe.base.file_kinds import BEGINNING, describe_other_file
from raypipe.models.backbones.base import Channels
from raypipe.models.foreign.normalized import Normalized

CONFIG, PROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
SHARDS = "model.safetensors.index.json"
EXTRA = "pip install 'raypipe[transformers]'"
EXACT = 1e-6
"""Largest difference of a scale from 1 that is rounding."""
UNCHANGED: tuple[Channels, Channels] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class HuggingFaceModel(NamedTuple):
    """A model of transformers, with what its folder says about it.

    Parameters
    ----------
    network
        Network from images (n, 3, h, w) in [0, 1] to logits. Its normalization is inside.
    form
        Name of its architecture.
    labels
        Names of its classes; None if the folder only numbers them.
    size
        Height and width of its images in pixels; None if the folder does not state it.
    normalization
        Mean and standard deviation inside the network; None if the folder states none.
    """

    network: nn.Module
    form: str
    labels: tuple[str, ...] | None
    size: int | None
    normalization: tuple[Channels, Channels] | None


def is_huggingface(folder: Path) -> bool:
    """Return True if a folder holds a model of transformers. The folder of `raypipe export` is none."""
    return folder.is_dir() and "model_type" in _read(folder / CONFIG)


def open_huggingface(folder: Path, mean: Channels | None = None, std: Channels | None = None) -> HuggingFaceModel:
    """Open an image classifier from a folder with ``config.json`` and ``model.safetensors``. It runs no code in it.

    Parameters
    ----------
    folder
        Folder that `save_pretrained` wrote, or a download of one from the hub.
    mean, std
        Normalization; default: that of ``preprocessor_config.json``.

    Raises
    ------
    ValueError
        If transformers is not installed, or the folder holds no image classifier in safetensors.
    """
    try:
        from transformers import AutoModelForImageClassification  # noqa: PLC0415  an extra
    except ImportError as error:
        raise ValueError(f"{folder}: is a model of transformers, which is not installed: {EXTRA}") from error
    if not any((folder / name).is_file() for name in (WEIGHTS, SHARDS)):
        raise ValueError(
            f"{folder}: holds no {WEIGHTS}; other files of weights can run code: convert them with "
            "save_pretrained(FOLDER, safe_serialization=True)"
        )
    try:
        with _hide_progress_bars():
            network, found = AutoModelForImageClassification.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
    except Exception as error:  # transformers raises many kinds of errors
        raise ValueError(
            f"{folder}: cannot be opened as an image classifier of transformers{_explain(folder, error)}"
        ) from error
    if missing := sorted(found["missing_keys"]):
        raise ValueError(
            f"{folder}: {len(missing)} tensors of its {type(network).__name__} are missing in {WEIGHTS}, first "
            f"{missing[0]!r}: it was not trained to classify; fine-tune it first"
        )
    config, processor = network.config, _read(folder / PROCESSOR)
    normalization = _find_normalization(processor)
    if mean or std:
        normalization = mean or (normalization or UNCHANGED)[0], std or (normalization or UNCHANGED)[1]
    inside: nn.Module = _Logits(network)
    if normalization:
        inside = Normalized(inside, *normalization)
    size = _find_size(processor) or getattr(config, "image_size", None)
    return HuggingFaceModel(
        inside.eval(),
        type(network).__name__,
        _find_labels(config),
        size if isinstance(size, int) else None,
        normalization,
    )


def _explain(folder: Path, error: Exception) -> str:
    """Return why a folder does not open, for the end of a message."""
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            if other := describe_other_file(stream.read(BEGINNING)):
                return f": {file.name}: {other}"
    return f" ({type(error).__name__}: {str(error).strip().partition(chr(10))[0]})"


@contextmanager
def _hide_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing bars while it reads tensors."""
    from transformers.utils import logging  # noqa: PLC0415  an extra

    active = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if active:
            logging.enable_progress_bar()


class _Logits(nn.Module):
    """A model of transformers as a network that gives the tensor of its logits alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(pixel_values=images).logits
        return logits


def _read(file: Path) -> dict[str, Any]:
    """Return a JSON object; an empty one if there is no such file or it holds something else."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _find_labels(config: Any) -> tuple[str, ...] | None:
    names = dict(config.id2label)
    labels = tuple(str(names[number]) for number in sorted(names))
    generic = all(name == f"LABEL_{number}" for number, name in enumerate(labels))
    return None if generic or len(set(labels)) < len(labels) else labels


def _find_normalization(processor: dict[str, Any]) -> tuple[Channels, Channels] | None:
    """Return the mean and the standard deviation for images in [0, 1] that do what a processor does to 0..255."""
    scale = 255 * processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 255
    offset = 1.0 if processor.get("do_rescale", True) and processor.get("rescale_offset") else 0.0
    mean, std = processor.get("image_mean"), processor.get("image_std")
    if not processor.get("do_normalize", mean is not None) or not mean or not std:
        mean, std = [0.0] * 3, [1.0] * 3
        if abs(scale - 1) < EXACT and not offset:
            return None
    if any(len(each) != 3 for each in (mean, std)):
        raise ValueError(f"{PROCESSOR} normalizes {len(mean)} channels, expected 3: raypipe's tiles are in color")
    red, green, blue = ((float(each) + offset) / scale for each in mean)
    other_red, other_green, other_blue = (float(each) / scale for each in std)
    return (red, green, blue), (other_red, other_green, other_blue)


def _find_size(processor: dict[str, Any]) -> int | None:
    """Return the side of the square that the processor cuts or resizes to."""
    chosen = processor.get("crop_size") if processor.get("do_center_crop") else None
    size = chosen or processor.get("size")
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    return size if isinstance(size, int) else None
