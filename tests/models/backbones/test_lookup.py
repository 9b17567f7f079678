"""Backbones from outside this package: torchvision's, timm's, and a user's own by import path."""

import hashlib
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from raypipe.base.errors import ConfigError
from raypipe.experiment.load import validate_experiment
from raypipe.models.backbones.base import compute_auxiliary_loss, compute_classification_loss, main_logits
from raypipe.models.backbones.from_timm import _import_timm
from raypipe.models.backbones.lookup import _get_backbone, get_backbone
from raypipe.models.checkpoint import ModelCard, load_classifier, save_classifier
from raypipe.models.classifier import Model, build_classifier
from raypipe.models.state_files import WeightsError
from raypipe.models.weights import _fetch_weights
from raypipe.plan.cells import TrainSpec
from raypipe.training.recipe import Recipe

HALF = (0.5, 0.5, 0.5)
EXPERIMENT: dict[str, Any] = {"name": "own", "data": {"source": "synthetic"}, "attacks": ["deepfool"]}
SOURCE = """
from torch import nn

def build(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))
"""


def problems(models: Any, **settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        validate_experiment({**EXPERIMENT, "tiles": {"size": 32}, "models": models, **settings})
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet81", "expected one of convnet, .*module:PACKAGE.MODULE:FUNCTION; did you mean 'resnet18'"),
        ("timm:mobilnetv3_small_050", "did you mean 'timm:mobilenetv3_small_050'"),
        ("torchvision:resnet8", "torchvision has no classifier of this name; did you mean 'torchvision:resnet18'"),
        ("torchvision:fasterrcnn_resnet50_fpn", "torchvision has no classifier of this name"),
        ("timm:resnet18.a1_in1k", "timm has no classifier of this name; did you mean 'timm:resnet18"),
        ("module:tests.models.foreign", "expected module:PACKAGE.MODULE:FUNCTION"),
        ("module:tests.models.nowhere:build", "cannot be imported: ModuleNotFoundError.*PYTHONPATH"),
        ("module:tests.models.foreign:rebuild", "foreign.py has no function 'rebuild'"),
        ("module:sys:exit", "module:sys is not a file"),
    ],
)
def test_a_name_that_is_none_says_what_would_be_one(name: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        Model(name=name)
    assert [error["loc"] for error in caught.value.errors()] == [("name",)]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            "not_a_network",
            "cannot be built (TypeError: module:tests.models.foreign:not_a_network gave a int: expected a torch.nn",
        ),
        ("raises", "cannot be built (RuntimeError: no 7 today)"),
        ("features_only", "gives [2, 3] for 2 images and 7 classes in evaluation mode: expected logits [2, 7]"),
        ("pairs", "gives a tuple for 2 images and 7 classes in evaluation mode"),
        ("softmax", "gives probabilities (as a softmax does) in evaluation mode: expected logits"),
        ("sigmoid", "gives probabilities (as a sigmoid does) in evaluation mode: expected logits"),
    ],
)
def test_a_module_that_is_no_classifier_is_refused_by_the_experiment(function: str, message: str) -> None:
    found = problems({"own": {"name": f"module:tests.models.foreign:{function}"}})
    assert f"models.own: module:tests.models.foreign:{function} " in found
    assert message in found


def test_a_network_that_cannot_take_the_tiles_is_refused_unless_they_are_resized() -> None:
    assert "cannot take images of 32 pixels" in problems(["timm:vit_tiny_patch16_224"])
    model = {"name": "timm:vit_tiny_patch16_224", "resize": "own"}
    experiment = validate_experiment({**EXPERIMENT, "tiles": {"size": 32}, "models": {"vit": model}})
    assert experiment.models["vit"].resize == 224
    network = build_classifier(experiment.models["vit"], 4).eval()
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 4)


def test_ids_of_names_with_colons_have_hyphens() -> None:
    names = ["timm:mobilenetv3_small_050", "module:tests.models.foreign:build", "convnet"]
    experiment = validate_experiment({**EXPERIMENT, "tiles": {"size": 32}, "models": names})
    assert list(experiment.models) == ["timm-mobilenetv3_small_050", "module-tests.models.foreign-build", "convnet"]
    assert [model.name for model in experiment.models.values()] == names
    assert "the same id" in problems({"timm:resnet18": None, "timm-resnet18": {"name": "resnet18"}})


def test_resizing_is_inside_and_passes_gradients_and_a_checkpoint() -> None:
    torch.manual_seed(0)
    model = build_classifier(Model(name="convnet", resize=48), 3).eval()
    tiles = torch.rand(2, 3, 32, 32, requires_grad=True)
    resized = torch.nn.functional.interpolate(tiles, (48, 48), mode="bilinear", antialias=True)
    torch.testing.assert_close(model(tiles), model.network((resized - 0.5) / 0.5))
    (gradient,) = torch.autograd.grad(model(tiles)[:, 0].sum(), tiles)
    assert (gradient != 0).any(dim=1).all(), "every pixel counts"
    card = ModelCard("convnet", ("a", "b", "c"), 32, HALF, HALF, resize=48)
    loaded, read = load_classifier(save_classifier(model, card))
    assert read == card
    torch.testing.assert_close(loaded(tiles), model(tiles), rtol=0, atol=0)
    same = build_classifier(Model(name="convnet", resize=32), 3)
    assert torch.equal(same.preprocess(tiles), (tiles - 0.5) / 0.5)


def test_preprocessing_of_published_weights_is_their_own_unless_it_is_given() -> None:
    vit = Model.model_validate({"name": "timm:vit_tiny_patch16_224", "weights": "imagenet", "resize": "own"})
    assert (vit.mean, vit.std, vit.resize) == (HALF, HALF, 224)
    darknet = Model.model_validate({"name": "darknet53", "weights": "c2ns_in1k", "resize": "own"})
    assert (darknet.mean, darknet.resize) == ((0.485, 0.456, 0.406), 256)
    assert Model(name="resnet50", weights="IMAGENET1K_V2").std == (0.229, 0.224, 0.225)
    assert Model(name="resnet50", weights="IMAGENET1K_V2", std=HALF).std == HALF
    assert Model(name="resnet50").mean == HALF
    with pytest.raises(ValidationError, match="the network prefers no size"):
        Model.model_validate({"name": "convnet", "resize": "own"})


def test_what_is_not_set_is_in_no_key() -> None:
    assert set(Model(name="convnet").model_dump()) == {"name", "weights", "mean", "std"}
    assert Model(name="convnet", resize=64).model_dump()["resize"] == 64


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Write a module `own_network` into the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    path = tmp_path / "own_network.py"
    path.write_text(SOURCE)
    yield path
    forget()


def forget() -> None:
    """Remove all knowledge of the module that another process would not have."""
    sys.modules.pop("own_network", None)
    _get_backbone.cache_clear()
    importlib.invalidate_caches()


def test_a_module_s_source_enters_what_determines_the_model(own: Path) -> None:
    name = "module:own_network:build"
    model = Model(name=name)
    assert model.digest == hashlib.sha256(SOURCE.encode()).hexdigest()[:20]
    spec = TrainSpec(model=model, recipe=Recipe(), seed=0).model_dump(mode="json")
    assert spec["model"]["digest"] == model.digest
    assert Model.model_validate(spec["model"]) == model
    card = ModelCard(name, ("a", "b"), 32, HALF, HALF, digest=model.digest)
    stored = save_classifier(build_classifier(model, 2), card)
    assert load_classifier(stored)[1] == card

    own.write_text(SOURCE + "# changed")
    forget()
    assert Model(name=name).digest != model.digest
    with pytest.raises(ValidationError, match="it has changed; restore it"):
        Model.model_validate(spec["model"])
    with pytest.raises(ValueError, match="it has changed; restore it"):
        build_classifier(model, 2)
    with pytest.raises(ValueError, match=r"its backbone 'module:own_network:build'.*it has changed; restore it"):
        load_classifier(stored)

    own.unlink()
    forget()
    with pytest.raises(ValueError, match=r"its backbone 'module:own_network:build'.*cannot be imported"):
        load_classifier(stored)


def test_without_timm_its_backbones_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    _get_backbone.cache_clear()
    for name in ("darknet53", "resnet50d", "timm:resnet18"):
        with pytest.raises(ValidationError, match=r"pip install 'raypipe\[timm\]'"):
            Model(name=name)
    assert Model(name="resnet18").name == "resnet18"


def test_timm_is_imported_for_its_own_backbones_alone() -> None:
    script = (
        "import sys; from raypipe.models.classifier import Model; Model(name='resnet18'); print('timm' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"


def test_timm_s_weights_that_cannot_be_had_say_how_to_give_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*arguments: Any, **settings: Any) -> Any:
        raise OSError("offline")

    model = Model(name="resnet50d", weights="imagenet")
    monkeypatch.setattr(_import_timm(), "create_model", offline)
    with pytest.raises(WeightsError, match=r"timm/resnet50d.*cannot be reached.*weights: /path/.*train from scratch"):
        _fetch_weights(model.name, "imagenet", get_backbone(model.name).published()["imagenet"])


@pytest.mark.parametrize(
    "output",
    [
        {"features": torch.ones(2, 9), "aux": torch.zeros(2, 3), "logits": torch.ones(2, 3)},
        (torch.ones(2, 3), torch.zeros(2, 3), torch.ones(2, 9), None),
    ],
)
def test_auxiliary_heads_of_any_output_are_scored(output: Any) -> None:
    labels = torch.tensor([0, 2])
    assert torch.equal(main_logits(output), torch.ones(2, 3))
    expected = torch.tensor(3.0).log()
    torch.testing.assert_close(compute_auxiliary_loss(output, labels), 0.3 * expected)
    torch.testing.assert_close(compute_classification_loss(output, labels), 1.3 * expected)
