"""Trained classifiers as safetensors: the weights and what is needed to use them, in one file without pickle."""

import json
import struct
from dataclasses import dataclass

from pydantic import TypeAdapter
from safetensors.torch import load, save

from raypipe.models import BACKBONES
from raypipe.models.classifier import Channels, Classifier
from raypipe.models.fronts import BitDepth

FILE_NAME = "model.safetensors"


@dataclass(frozen=True)
class ModelCard:
    """What a checkpoint says of itself.

    Parameters
    ----------
    backbone
        Its name in `raypipe.models.BACKBONES`.
    labels
        Class names; the position is the label.
    size
        Height and width of its images, in pixels.
    mean, std
        Of the normalisation inside.
    front
        The layer before it, if a defense put one there.
    """

    backbone: str
    labels: tuple[str, ...]
    size: int
    mean: Channels
    std: Channels
    front: BitDepth | None = None


def save_classifier(classifier: Classifier, card: ModelCard) -> bytes:
    """A classifier's weights with its card, as the bytes of a safetensors file."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in classifier.state_dict().items()}
    return save(tensors, metadata={"raypipe": TypeAdapter(ModelCard).dump_json(card).decode()})


def load_classifier(data: bytes) -> tuple[Classifier, ModelCard]:
    """A classifier in evaluation mode, and its card, from the bytes of a safetensors file.

    Raises
    ------
    ValueError
        If the file has no card of ours.
    """
    card = _read_card(data)
    network = BACKBONES[card.backbone].build(len(card.labels))
    classifier = Classifier(network, card.mean, card.std, card.front)
    classifier.load_state_dict(load(data))
    return classifier.eval(), card


def _read_card(data: bytes) -> ModelCard:
    # safetensors gives the metadata of files only; the header is 8 bytes of length and then JSON.
    (length,) = struct.unpack("<Q", data[:8])
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    if "raypipe" not in metadata:
        raise ValueError("not a raypipe checkpoint: its safetensors header has no 'raypipe' entry")
    return TypeAdapter(ModelCard).validate_json(metadata["raypipe"])
