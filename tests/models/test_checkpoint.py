"""Weight files from elsewhere, and damaged checkpoints: no code in them runs, and every one is reported."""

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from raypipe.models.checkpoint import ModelCard, load_classifier, save_classifier
from raypipe.models.classifier import Model, build_classifier
from raypipe.models.state_files import WeightsError
from raypipe.models.weights import load_pretrained_state

HALF = (0.5, 0.5, 0.5)
CARD = ModelCard("shufflenet_v2_x1_0", ("a", "b", "c"), 32, HALF, HALF)


class Bomb:
    """A class that runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def pickled(path: Path, bomb: Bomb) -> None:
    path.write_bytes(pickle.dumps({"conv1.weight": bomb}))


def saved_by_torch(path: Path, bomb: Bomb) -> None:
    torch.save({"state_dict": {"conv1.weight": bomb}}, path)


def saved_by_old_torch(path: Path, bomb: Bomb) -> None:
    torch.save({"conv1.weight": bomb}, path, _use_new_zipfile_serialization=False)


def hidden_in_an_archive(path: Path, bomb: Bomb) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, pickle.dumps(bomb) if name.endswith("data.pkl") else data)


@pytest.mark.parametrize("write", [pickled, saved_by_torch, saved_by_old_torch, hidden_in_an_archive])
@pytest.mark.parametrize("suffix", ["pt", "pth", "safetensors"])
def test_nothing_of_a_pickle_bomb_runs(write: Any, suffix: str, tmp_path: Path) -> None:
    path, owned = tmp_path / f"weights.{suffix}", tmp_path / "owned"
    write(path, Bomb(owned))
    with pytest.raises(WeightsError, match="cannot read weights from") as caught:
        load_pretrained_state("resnet18", str(path))
    assert not owned.exists()
    assert "weights_only" not in str(caught.value), "no advice on how to run it all the same"
    # The same file does harm if it is read without care.
    if write is pickled:
        pickle.loads(path.read_bytes())
        assert owned.exists()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ([torch.zeros(1)], "expected a state_dict, tensors by name, got a list"),
        ({1: torch.zeros(1)}, "expected a state_dict"),
        ({"conv1.weight": 1}, r"none of the network's 120 tensors, but 'conv1.weight' \(int\)"),
        ({"conv1.weight": torch.zeros(64, 3, 7, 7).to_sparse()}, "not those of a resnet18"),
        ({"conv1.weight": torch.zeros(64, 3, 7, 7, dtype=torch.complex64)}, "not those of a resnet18"),
    ],
)
def test_what_is_no_state_of_the_backbone_is_refused(state: Any, message: str, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match=message):
        load_pretrained_state("resnet18", str(tmp_path / "weights.pt"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float, tmp_path: Path) -> None:
    state = build_classifier(Model(name="shufflenet_v2_x1_0"), 2).network.state_dict()
    state["conv1.0.weight"][0, 0, 0, 0] = value
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match=r"'conv1\.0\.weight' and 0 other tensors hold NaN or infinity"):
        load_pretrained_state("shufflenet_v2_x1_0", str(tmp_path / "weights.pt"))


@pytest.fixture(scope="module")
def checkpoint() -> bytes:
    return save_classifier(build_classifier(Model(name=CARD.backbone), 3), CARD)


def carded(checkpoint: bytes, **changes: Any) -> bytes:
    """Return the weights of a checkpoint with another card."""
    (length,) = struct.unpack("<Q", checkpoint[:8])
    header = json.loads(checkpoint[8 : 8 + length])
    card = json.loads(header["__metadata__"]["raypipe"]) | changes
    header["__metadata__"]["raypipe"] = json.dumps(card)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + checkpoint[8 + length :]


def test_a_checkpoint_is_whole(checkpoint: bytes) -> None:
    assert load_classifier(carded(checkpoint))[1] == CARD


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "resnet81"}, "its backbone 'resnet81': unknown backbone, expected one of"),
        ({"backbone": "resnet18"}, "not those of its resnet18"),
        ({"labels": ["a", "b"]}, "not those of its shufflenet"),
        ({"labels": [str(number) for number in range(2000)]}, "no tensor has one row for each of the 2000 labels"),
        ({"labels": 3}, "its card is not one of ours"),
        ({"mean": ["a"]}, "its card is not one of ours"),
    ],
)
def test_a_card_that_does_not_fit_its_weights_is_told(checkpoint: bytes, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_classifier(carded(checkpoint, **changes))


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 8, b"\xff" * 9, struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 9_999) + b"[" * 9_999]
)
def test_what_is_no_safetensors_file_is_told(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a raypipe checkpoint"):
        load_classifier(data)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_damaged_checkpoint_is_a_classifier_or_told_to_be_none(checkpoint: bytes, data: st.DataObject) -> None:
    (length,) = struct.unpack("<Q", checkpoint[:8])
    made = bytearray(checkpoint[: data.draw(st.just(len(checkpoint)) | st.integers(0, len(checkpoint)))])
    for place in data.draw(st.lists(st.integers(0, 8 + length), max_size=3)):
        if place < len(made):
            made[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        classifier, card = load_classifier(bytes(made))
    except ValueError as error:
        assert str(error)  # noqa: PT017 - most are damaged
    else:
        assert classifier(torch.rand(1, 3, 32, 32)).shape == (1, len(card.labels))


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=100), st.sampled_from(["pt", "safetensors"]), st.booleans())
def test_any_bytes_are_no_weights(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str, headed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any.{suffix}"
    path.write_bytes((save({"a": torch.zeros(1)})[:40] if headed else b"") + data)
    with pytest.raises(WeightsError):
        load_pretrained_state("shufflenet_v2_x1_0", str(path))
