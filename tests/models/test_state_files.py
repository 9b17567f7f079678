"""States of networks in the wrappings that training programs put around them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from raypipe.base.errors import Notice
from raypipe.models.classifier import Model, build_classifier
from raypipe.models.finished_model import open_model
from raypipe.models.state_files import WeightsError, _find_prefix, find_extra, read_normalization, read_state
from raypipe.models.weights import load_pretrained_state

NETWORK = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
STATE = NETWORK.state_dict()
Wrap = Callable[[dict[str, Tensor]], Any]


def prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def twin(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of a network that is stored within an attacker and on its own, beside its normalization."""
    normalization = {"module.normalizer.new_mean": torch.zeros(3, 1, 1)}
    return normalization | prefixed("module.model.", state) | prefixed("module.attacker.model.", state)


WRAPPINGS: dict[str, Wrap] = {
    "bare": lambda state: state,
    "model": lambda state: {"epoch": 3, "model": state, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
    "model_state_dict": lambda state: {"model_state_dict": state, "loss": 0.1},
    "net": lambda state: {"net": state, "acc": 93.1},
    "lightning": lambda state: {"state_dict": prefixed("model.", state), "pytorch-lightning_version": "2.4.0"},
    "data parallel": lambda state: {"state_dict": prefixed("module.", state), "best_acc": 0.9},
    "compiled": lambda state: prefixed("_orig_mod.", state),
    "compiled within data parallel": lambda state: prefixed("module._orig_mod.", state),
    "twice": lambda state: {"checkpoint": {"model": state}},
    "deep": lambda state: {"checkpoint": {"model": {"state_dict": prefixed("backbone.", state)}}},
    "its average, which is equal": lambda state: {"state_dict": prefixed("module.", state), "state_dict_ema": state},
    "an attacker beside the model": lambda state: {"model": twin(state), "epoch": 90},
    "another state first": lambda state: {"discriminator": {"0.weight": torch.zeros(1)}, "classifier": state},
}


@pytest.mark.parametrize("wrapping", sorted(WRAPPINGS))
def test_a_state_is_found_in_every_common_wrapping(wrapping: str, tmp_path: Path) -> None:
    torch.save(WRAPPINGS[wrapping](STATE), tmp_path / "weights.pth")
    found = read_state(str(tmp_path / "weights.pth"), STATE)
    assert set(STATE) <= set(found)
    for name, tensor in STATE.items():
        torch.testing.assert_close(found[name], tensor)


@given(st.text("ab.", max_size=6), st.dictionaries(st.text("abc.", min_size=1, max_size=4), st.none(), min_size=1))
def test_any_prefix_of_all_names_is_found(prefix: str, names: dict[str, None]) -> None:
    """A prefix ends at a dot, and a longer one is never taken where a shorter one has as many names."""
    prefix = f"{prefix}." if prefix else ""
    state = {prefix + name: torch.zeros(1) for name in names}
    found, count = _find_prefix(state, names)
    assert count == len(names)
    assert len(found) <= len(prefix)
    assert {name.removeprefix(found) for name in state if name.startswith(found)} >= set(names)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<!DOCTYPE html><html>rate limit</html>", "web page .* download button"),
        (b"\n <html></html>", "web page"),
        (b'{"error": "Forbidden"}', "it is JSON and not the file itself"),
        (b"", "it is empty; fetch it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "Git LFS pointer .*git lfs pull"),
    ],
)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_what_was_saved_in_place_of_a_checkpoint_is_named(
    content: bytes, message: str, suffix: str, tmp_path: Path
) -> None:
    file = tmp_path / f"weights.{suffix}"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        read_state(str(file), STATE)


def test_a_file_without_the_network_says_what_it_holds(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "generator": {"stem.weight": torch.zeros(1)}, "lr": 0.1}, tmp_path / "weights.pth")
    with pytest.raises(
        WeightsError, match=r"none of the network's 9 tensors, but 'epoch' \(int\), 'generator' \(dict\)"
    ):
        read_state(str(tmp_path / "weights.pth"), STATE)


def test_of_two_states_that_differ_the_one_that_is_taken_is_named(tmp_path: Path) -> None:
    average = {name: tensor / 2 if tensor.is_floating_point() else tensor for name, tensor in STATE.items()}
    torch.save({"epoch": 3, "student": {"net": STATE}, "teacher": average}, tmp_path / "weights.pth")
    with pytest.warns(Notice, match=r"holds 2 states .* 'student\.net' is taken, and not 'teacher'"):
        found = read_state(str(tmp_path / "weights.pth"), STATE)
    assert torch.equal(found["0.weight"], STATE["0.weight"])
    torch.save({**average, "ema": STATE}, tmp_path / "weights.pth")
    with pytest.warns(Notice, match="the outermost is taken, and not 'ema'"):
        found = read_state(str(tmp_path / "weights.pth"), STATE)
    assert torch.equal(found["0.weight"], average["0.weight"])


def test_a_file_that_is_no_state_says_what_it_is(tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", weight=np.zeros(2))
    with pytest.raises(WeightsError, match=r"it is a zip archive, but none of torch\.save"):
        read_state(str(tmp_path / "arrays.npz"), STATE)
    with pytest.raises(WeightsError, match=r"missing\.pth: No such file or directory"):
        read_state(str(tmp_path / "missing.pth"), STATE)
    with pytest.raises(WeightsError, match="Is a directory"):
        read_state(str(tmp_path), STATE)


def test_a_head_of_another_name_is_shown(tmp_path: Path) -> None:
    state = build_classifier(Model(name="resnet18"), 2).network.state_dict()
    torch.save({name.replace("fc.", "head."): tensor for name, tensor in state.items()}, tmp_path / "head.pth")
    with pytest.raises(ValueError, match=r"first 'fc\.weight'; 'head\.weight' has its shape: rename it"):
        open_model("resnet18", ("a", "b"), weights=str(tmp_path / "head.pth"))


def test_a_file_that_was_cut_off_is_named(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "weights.pth")
    (tmp_path / "weights.pth").write_bytes((tmp_path / "weights.pth").read_bytes()[:-500])
    with pytest.raises(WeightsError, match="may be cut off: fetch it again"):
        read_state(str(tmp_path / "weights.pth"), STATE)


def test_a_larger_network_and_another_number_of_classes_are_named(tmp_path: Path) -> None:
    """A ResNet-34 has every tensor of a ResNet-18."""
    larger = build_classifier(Model(name="torchvision:resnet34"), 2).network.state_dict()
    torch.save(larger, tmp_path / "larger.pth")
    weights = str(tmp_path / "larger.pth")
    with pytest.raises(ValueError, match=r"larger network than a resnet18: it has \d+ more tensors .* 'layer1\.2\."):
        open_model("resnet18", ("a", "b"), weights=weights)
    with pytest.raises(WeightsError, match="larger network than a resnet18"):
        load_pretrained_state("resnet18", weights)
    torch.save(build_classifier(Model(name="resnet18"), 4).network.state_dict(), tmp_path / "four.pth")
    with pytest.raises(ValueError, match=r"first 'fc\.weight', which has 4 classes: name as many with --labels"):
        open_model("resnet18", ("a", "b"), weights=str(tmp_path / "four.pth"))


def test_tensors_beside_the_network_are_no_larger_network() -> None:
    beside = {"criterion.weight": torch.ones(5), "0.total_ops": torch.zeros(1), "ema": torch.ones(9)}
    assert find_extra(STATE | beside, STATE) == []
    assert find_extra(STATE | {"0.deeper.weight": torch.ones(5)}, STATE) == ["0.deeper.weight"]


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Normalized(nn.Module):
    """A network behind a normalization, as adversarially trained ones are published."""

    def __init__(self, network: nn.Module, layer: str, names: tuple[str, str]) -> None:
        super().__init__()
        self.names, inner = names, nn.Module()
        for name, values in zip(names, (MEAN, STD), strict=True):
            inner.register_buffer(name, torch.tensor(values).view(3, 1, 1))
        self.normalization = inner
        self.model = network
        self.layer = layer

    def forward(self, images: Tensor) -> Tensor:
        mean, std = (getattr(self.normalization, name) for name in self.names)
        logits: Tensor = self.model((images - mean) / std)
        return logits

    def publish(self, prefix: str) -> dict[str, Tensor]:
        """Return the state by the names that the wrapper's authors give it."""
        layer = f"{self.layer}." if self.layer else ""
        return {prefix + name.replace("normalization.", layer): value for name, value in self.state_dict().items()}


@pytest.mark.parametrize(
    ("layer", "names", "prefix"),
    [
        ("normalizer", ("new_mean", "new_std"), "module."),  # the package robustness; Salman et al., 2020
        ("normalize", ("mean", "std"), ""),  # RobustBench
        ("", ("mu", "sigma"), ""),  # Wong, Rice and Kolter, 2020
        ("", ("mean", "std"), "module."),
    ],
)
def test_an_adversarially_pretrained_network_starts_as_its_file_says(
    layer: str, names: tuple[str, str], prefix: str, tmp_path: Path
) -> None:
    """The features of images in [0, 1] equal those of the published model."""
    torch.manual_seed(0)
    theirs = build_classifier(Model(name="resnet18"), 1000).network
    published = Normalized(theirs, layer, names).eval()
    state = published.publish(prefix)
    torch.save({"model": state, "epoch": 90}, tmp_path / "robust.ckpt")
    settings = Model(name="resnet18", weights=str(tmp_path / "robust.ckpt"))
    assert (settings.mean, settings.std) == (MEAN, STD)
    ours = build_classifier(settings, 3).eval()
    ours.network.fc = theirs.fc = nn.Identity()
    images = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(ours(images), published(images), rtol=1e-4, atol=1e-4)


def test_given_values_have_priority_over_those_of_the_file(tmp_path: Path) -> None:
    torch.save(Normalized(NETWORK, "normalize", ("mean", "std")).publish(""), tmp_path / "a.pth")
    settings = Model(name="resnet18", weights=str(tmp_path / "a.pth"), mean=(0.1, 0.2, 0.3))
    assert (settings.mean, settings.std) == ((0.1, 0.2, 0.3), STD)


def test_a_file_without_a_normalization_says_nothing_of_it(tmp_path: Path) -> None:
    torch.save({**STATE, "mean": torch.zeros(4), "head.norm.std": torch.ones(3)}, tmp_path / "a.pth")
    assert read_normalization(str(tmp_path / "a.pth")) is None


def test_normalizations_that_differ_are_refused(tmp_path: Path) -> None:
    other = {"normalize.mean": torch.zeros(3), "normalize.std": torch.ones(3)}
    torch.save({"model": STATE | other, "ema": STATE | other | {"normalize.mean": torch.ones(3)}}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="2 normalizations that differ; set mean and std"):
        read_normalization(str(tmp_path / "a.pth"))
