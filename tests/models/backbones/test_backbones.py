"""The promises of every backbone, checked for each."""

import copy
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save
from torch import nn

from raypipe.models.backbones import BACKBONES
from raypipe.models.backbones.base import compute_classification_loss, main_logits
from raypipe.models.backbones.lookup import get_backbone
from raypipe.models.checkpoint import ModelCard, load_classifier, save_classifier
from raypipe.models.classifier import IMAGENET_NORMALIZATION, Classifier, Model, build_classifier
from raypipe.models.state_files import WeightsError

HALF = (0.5, 0.5, 0.5)
OWN = "module:tests.models.foreign:build"
OTHERS = ("timm:mobilenetv3_small_050", "torchvision:efficientnet_b0", OWN)
"""Backbones with normalization and activation in one layer; with stochastic depth; with dropout and heads by name."""
EVERY = (*BACKBONES, *OTHERS)
MEAN = (0.4, 0.5, 0.6)


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in EVERY])
def name(request: pytest.FixtureRequest) -> str:
    """Return each backbone's name in turn; all tests of a backbone run in one process."""
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str) -> Classifier:
    """Return the backbone for five classes, ready to predict. No test changes it."""
    torch.manual_seed(0)
    return build_classifier(Model(name=name, mean=MEAN), 5).eval()


@pytest.fixture(scope="module")
def precise(model: Classifier) -> Classifier:
    """Return the model in double precision, because deep untrained networks underflow in single precision."""
    return copy.deepcopy(model).double()


def images(count: int = 4, size: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_logits_have_a_column_for_each_class(name: str, model: Classifier) -> None:
    assert model(images()).shape == (4, 5)


def test_every_parameter_learns_from_the_training_loss(name: str, model: Classifier) -> None:
    learner = copy.deepcopy(model).train()
    output = learner(images())
    assert main_logits(output).shape == (4, 5)
    compute_classification_loss(output, torch.tensor([0, 1, 2, 3])).backward()
    assert [parameter for parameter, value in learner.named_parameters() if value.grad is None] == []


def test_gradients_reach_every_pixel_and_are_the_same_twice(name: str, precise: Classifier) -> None:
    points = images(2).double().requires_grad_()
    first, second = (torch.autograd.grad(precise(points)[:, 0].sum(), points)[0] for _ in range(2))
    assert torch.isfinite(first).all()
    assert (first.flatten(1).norm(dim=1) > 0).all()
    assert torch.equal(first, second)
    assert torch.equal(precise(points), precise(points))


def test_a_tile_s_logits_depend_on_no_other_tile(name: str, precise: Classifier) -> None:
    tiles = images().double()
    torch.testing.assert_close(precise(tiles)[:1], precise(tiles[:1]))


def test_normalisation_is_inside(name: str, model: Classifier) -> None:
    mean, std = model.normalization
    assert mean == MEAN
    plain = Classifier(model.network, (0, 0, 0), (1, 1, 1)).eval()
    centered = (images() - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(model(images()), plain(centered))


def test_a_checkpoint_gives_the_same_model_back(name: str, model: Classifier) -> None:
    card = ModelCard(name, ("a", "b", "c", "d", "e"), 32, *model.normalization, digest=get_backbone(name).digest)
    loaded, read = load_classifier(save_classifier(model, card))
    assert read == card
    assert not loaded.training
    torch.testing.assert_close(loaded(images()), model(images()), rtol=0, atol=0)


def test_local_weights_are_taken_except_for_the_head(name: str, model: Classifier, tmp_path: Path) -> None:
    """Load the weights from a checkpoint; `test_weights_come_in_either_format` reads the other format."""
    path = tmp_path / "weights.safetensors"
    path.write_bytes(save_classifier(model, ModelCard(name, tuple("abcde"), 32, HALF, HALF)))
    assert_taken(model.network, build_classifier(Model(name=name, weights=str(path)), 7).network)


def test_weights_come_in_either_format(tmp_path: Path) -> None:
    published = BACKBONES["googlenet"].build(5)
    torch.save(published.state_dict(), tmp_path / "weights.pth")
    network = build_classifier(Model(name="googlenet", weights=str(tmp_path / "weights.pth")), 7).network
    assert_taken(published, network)


def assert_taken(published: nn.Module, network: nn.Module) -> None:
    theirs, heads = published.state_dict(), 0
    for key, value in network.state_dict().items():
        if value.shape == theirs[key].shape:
            torch.testing.assert_close(value, theirs[key], rtol=0, atol=0)
        else:
            assert value.shape[0] == 7
            heads += 1
    assert 0 < heads <= 6  # weights and biases of GoogLeNet's three heads
    network.eval()
    assert network(images()).shape == (4, 7)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    torch.save(BACKBONES["shufflenet_v2_x1_0"].build(10).state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"holds none of the network's 120 tensors"):
        build_classifier(Model(name="resnet18", weights=str(tmp_path / "w.pth")), 5)


def test_a_foreign_file_is_not_executed(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "executed",))  # type: ignore[return-value]

    torch.save({"fc.weight": Trap()}, tmp_path / "w.pth")
    with pytest.raises(ValidationError, match="cannot read weights"):
        Model(name="resnet18", weights=str(tmp_path / "w.pth"))
    with pytest.raises(WeightsError, match="cannot read weights"):
        build_classifier(Model(name="resnet18", weights=str(tmp_path / "w.pth"), mean=HALF, std=HALF), 5)
    assert not (tmp_path / "executed").exists()


def test_weights_that_cannot_be_had_say_how_to_give_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for proxy in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # nothing listens there, so this process is offline
    with pytest.raises(WeightsError, match=r"not cached.*weights: /path/.*train from scratch"):
        build_classifier(Model(name="googlenet", weights="imagenet"), 5)


def test_googlenet_s_weights_see_what_they_were_trained_on(tmp_path: Path) -> None:
    torch.save(BACKBONES["googlenet"].build(10).state_dict(), tmp_path / "w.pth")
    mean, std = IMAGENET_NORMALIZATION
    model = build_classifier(Model(name="googlenet", weights=str(tmp_path / "w.pth"), mean=mean, std=std), 5)
    assert model.normalization == (HALF, HALF)


def test_a_file_without_a_card_is_refused() -> None:
    with pytest.raises(ValueError, match="not a raypipe checkpoint"):
        load_classifier(save({"a": torch.zeros(1)}))
