"""Checkpoints of trained classifiers: weights and a model card in one safetensors file, without pickle."""

import functools
import json
import struct
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, TypeAdapter
from safetensors.torch import load, save

from raypipe.models.backbones.base import Channels
from raypipe.models.backbones.lookup import get_backbone
from raypipe.models.classifier import Classifier
from raypipe.models.transforms.base import InputTransform
from raypipe.models.uninitialized import build_uninitialized

STORED_TRANSFORM = "front"
"""Name of the input transform in checkpoints, in the card and at the start of its tensors' names."""


@dataclass(frozen=True)
class ModelCard:
    """Description of a classifier in its checkpoint.

    Parameters
    ----------
    backbone
        Name of the backbone, as in `raypipe.models.backbones.lookup`.
    labels
        Class names. The position is the label.
    size
        Height and width of its images, in pixels.
    mean, std
        Normalization inside the classifier, per channel.
    input_transform
        Settings of its input transform, if a defense added one.
    resize
        Height and width, in pixels, to which it resizes its images. None leaves them unchanged.
    digest
        Digest of the source file, if the backbone is the user's own.
    """

    backbone: str
    labels: tuple[str, ...]
    size: int
    mean: Channels
    std: Channels
    input_transform: Annotated[InputTransform | None, Field(alias=STORED_TRANSFORM)] = None
    resize: int | None = None
    digest: str | None = None


def save_classifier(classifier: Classifier, card: ModelCard) -> bytes:
    """Return a classifier's weights and its card as the bytes of a safetensors file."""
    tensors = {
        _replace_prefix(name, "input_transform", STORED_TRANSFORM): tensor.detach().cpu().contiguous()
        for name, tensor in classifier.state_dict().items()
    }
    return save(tensors, metadata={"raypipe": TypeAdapter(ModelCard).dump_json(card, by_alias=True).decode()})


def load_classifier(data: bytes) -> tuple[Classifier, ModelCard]:
    """Return a classifier in evaluation mode, and its card, from the bytes of a safetensors file.

    Raises
    ------
    ValueError
        If the file is damaged, has no card of raypipe, or has weights that do not fit its card. Also if its backbone is
        the user's own and cannot be imported, or has changed since.
    """
    card = _read_card(data)
    try:
        backbone = get_backbone(card.backbone, card.digest)
    except ValueError as error:
        raise ValueError(f"its backbone {card.backbone!r}: {error}") from error
    try:
        tensors = load(data)
        if not any(len(card.labels) in tensor.shape[:1] for tensor in tensors.values()):
            raise ValueError(
                f"no tensor has one row for each of the {len(card.labels)} labels"
            )  # before a network is built
        build = functools.partial(backbone.build, len(card.labels))
        network = build() if backbone.digest else build_uninitialized(build)  # the user's own code may need values
        classifier = Classifier(network, card.mean, card.std, card.input_transform, card.resize)
        classifier.load_state_dict(
            {_replace_prefix(name, STORED_TRANSFORM, "input_transform"): tensor for name, tensor in tensors.items()}
        )
    except Exception as error:  # errors of safetensors and of torch
        raise ValueError(f"the weights are damaged, or not those of its {card.backbone}: {error}") from error
    return classifier.eval(), card


def _replace_prefix(name: str, old: str, new: str) -> str:
    """Return a tensor's name with another first part, if its first part is `old`."""
    first, dot, rest = name.partition(".")
    return f"{new}{dot}{rest}" if first == old else name


def _read_card(data: bytes) -> ModelCard:
    # safetensors reads metadata from files only. The header is 8 bytes of length, followed by JSON.
    try:
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
    except (struct.error, ValueError, RecursionError) as error:
        raise ValueError(f"not a raypipe checkpoint: it has no safetensors header ({error})") from error
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or "raypipe" not in metadata:
        raise ValueError("not a raypipe checkpoint: its safetensors header has no 'raypipe' entry")
    try:
        return TypeAdapter(ModelCard).validate_json(metadata["raypipe"])
    except ValueError as error:
        raise ValueError(f"not a raypipe checkpoint: its card is not one of ours: {error}") from error
