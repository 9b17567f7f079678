"""A model of a run as files: elsewhere they give the model's logits, and the card states the measured figures."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from raypipe.export import onnx_file
from raypipe.export.onnx_file import run_onnx
from raypipe.export.source import ExportError, generate_source, load_source, trace
from raypipe.export.write import export_model
from raypipe.models.artifacts import load_model
from raypipe.models.backbones import BACKBONES
from raypipe.models.checkpoint import ModelCard, load_classifier, save_classifier
from raypipe.models.classifier import Classifier
from raypipe.models.model_file import MODEL_FILE
from tests.evaluation.handmade import CLEAN, HARDENED
from tests.export.exporting import TRANSFORMS, WITHOUT_RAYPIPE, Exporter, classifier, stored

pytestmark = pytest.mark.xdist_group("export")  # in one process, so that the tests share the exported files


def tiles(count: int = 5) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_the_folder_loads_where_raypipe_cannot_be_imported(exported: Exporter) -> None:
    made = [exported(transform) for transform in ("none", "bit depth", "smoothing")]
    code = WITHOUT_RAYPIPE + (
        "import torch\n"
        "for folder in sys.argv[1:]:\n"
        "    sys.path[0] = folder\n"
        "    sys.modules.pop('model', None)\n"
        "    from model import LABELS, SIZE, load\n"
        "    images = torch.rand(5, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))\n"
        "    print(LABELS)\n    print(load()(images).tolist())\n"
        "    try:\n        import raypipe\n    except ImportError as error:\n        print(error)\n"
    )
    folders = [str(done.folder) for _, _, done in made]
    done = subprocess.run([sys.executable, "-c", code, *folders], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 3 * len(made)
    for (store, run, _), labels, logits, refused in zip(made, lines[::3], lines[1::3], lines[2::3], strict=True):
        assert labels == "('cancer', 'benign')"
        assert refused == "raypipe is not there"
        expected = load_model(store, run.subjects[1].key)[0](tiles())
        assert torch.allclose(torch.tensor(json.loads(logits)), expected, atol=1e-6)
        assert expected.std(0).min() > 1e-3, "the network says something of each tile"


OTHERS = ["timm:convnext_atto", "torchvision:mobilenet_v3_small", "module:tests.models.foreign:build"]
ALIKE = {"shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0", "resnet50_d"}
"""Backbones whose operations occur in others: shufflenet_v2_x0_5 with fewer channels; resnet50 with resnet18_d."""


def assert_same_function(model: nn.Module, written: nn.Module, images: Tensor) -> None:
    """Check that two models give the same logits and the same gradients."""
    images = images.requires_grad_()
    outcomes = [(one(images), torch.autograd.grad(one(images)[:, 0].sum(), images)[0]) for one in (model, written)]
    for ours, theirs in zip(*outcomes, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5 * float(ours.detach().abs().max()))


@pytest.mark.parametrize(
    ("backbone", "resize"), [*((name, None) for name in sorted(BACKBONES.keys() - ALIKE)), ("resnet18", 24)]
)
def test_every_backbone_gives_the_same_logits_and_gradients(backbone: str, resize: int | None, tmp_path: Path) -> None:
    model, card = classifier(backbone, resize=resize)
    card = replace(card, size=32)
    program = trace(model, card)
    text, constants = generate_source(program, card, backbone)
    assert not constants
    (tmp_path / "model.py").write_text(text)
    (tmp_path / "model.safetensors").write_bytes(save_classifier(model, card))
    written = load_source(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.py", "model.safetensors"]
    for count in (1, 3):
        assert_same_function(model, written, torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(2)))


@pytest.mark.parametrize("backbone", OTHERS)
def test_foreign_backbones_and_resizing_are_exported_in_every_form(backbone: str, tmp_path: Path) -> None:
    store, run = stored(tmp_path, backbone=backbone, resize=40)
    done = export_model(store, "hand", HARDENED, tmp_path / "exported")
    assert {form.file: form.reason for form in done.forms} == {"model.py": None, "model.onnx": None}
    model, written = load_model(store, run.subjects[1].key)[0], load_source(tmp_path / "exported")
    for count in (1, 5):
        assert_same_function(model, written, tiles(count))
        logits = run_onnx(tmp_path / "exported" / "model.onnx", tiles(count).numpy())
        assert np.allclose(logits, model(tiles(count)).detach(), atol=1e-4)
    assert json.loads((tmp_path / "exported" / "config.json").read_text())["resize"] == 40


@pytest.mark.parametrize("transform", ["none", "bit depth"])
def test_onnx_agrees_on_stored_tiles_and_on_batches_of_any_size(transform: str, exported: Exporter) -> None:
    store, run, done = exported(transform)
    assert {form.file: form.reason for form in done.forms} == {"model.py": None, "model.onnx": None}
    assert all(form.difference is not None and form.difference < 1e-3 for form in done.forms)
    model = load_model(store, run.subjects[1].key)[0]
    for count in (1, 2, 7):
        logits = run_onnx(done.folder / "model.onnx", tiles(count).numpy())
        assert np.allclose(logits, model(tiles(count)).detach().numpy(), atol=1e-4)


def test_what_onnx_cannot_hold_is_said_and_the_rest_is_written(exported: Exporter) -> None:
    _, _, done = exported("smoothing")
    reasons = {form.file: form.reason for form in done.forms}
    assert reasons["model.py"] is None
    assert "hash of each tile's pixels" in str(reasons["model.onnx"])
    assert "not written: the noise" in (done.folder / "README.md").read_text()
    assert not (done.folder / "model.onnx").exists()


def test_an_input_transform_that_no_graph_holds_leaves_the_weights(tmp_path: Path) -> None:
    store, run = stored(tmp_path, TRANSFORMS["gan"])
    done = export_model(store, "hand", HARDENED, tmp_path / "exported")
    assert all("gradient descent in every pass" in str(form.reason) for form in done.forms)
    names = sorted(path.name for path in (tmp_path / "exported").iterdir())
    assert names == ["README.md", "config.json", "model.safetensors"]
    assert "from model import" not in (tmp_path / "exported" / "README.md").read_text()
    loaded, card = load_classifier((tmp_path / "exported" / "model.safetensors").read_bytes())
    assert card.input_transform == TRANSFORMS["gan"]
    assert torch.equal(loaded(tiles()), load_model(store, run.subjects[1].key)[0](tiles()))


@pytest.mark.usefixtures("without_onnx")
def test_without_the_extra_onnx_is_left_out_aloud(tmp_path: Path) -> None:
    store, _ = stored(tmp_path)
    done = export_model(store, "hand", CLEAN, tmp_path / "exported")
    assert {form.file: form.reason for form in done.forms} == {
        "model.py": None, "model.onnx": "onnxscript is not installed: pip install 'raypipe[onnx]'",
    }  # fmt: skip


def test_a_form_that_says_something_else_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.export.forms.run_onnx", lambda path, images: 1.01 * run_onnx(path, images))
    store, _ = stored(tmp_path)
    export_model(store, "hand", CLEAN, tmp_path / "exported")
    assert not (tmp_path / "exported" / "model.onnx").exists()
    assert "gives other logits than the model" in (tmp_path / "exported" / "README.md").read_text()


class Positions(nn.Module):
    """A network with a buffer that its state leaves out, like networks with positional embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 8 * 8, 2)
        self.register_buffer("offsets", torch.arange(3 * 8 * 8) / 100.0, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1) + self.offsets)


class Undecided(nn.Module):
    """A network whose next operation depends on its intermediate values."""

    def forward(self, images: Tensor) -> Tensor:
        logits = images.flatten(1)[:, :2]
        return logits if float(logits.sum()) > 0 else -logits


def test_buffers_beside_the_state_are_kept_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Classifier(Positions(), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)).eval()
    card = ModelCard("convnet", ("a", "b"), 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    text, constants = generate_source(trace(model, card), card, "positions")
    (tmp_path / "model.py").write_text(text)
    (tmp_path / "model.safetensors").write_bytes(save_classifier(model, card))
    assert list(constants) == ["network.offsets"]
    onnx_file.write_onnx(trace(model, card), tmp_path / "model.onnx")
    save_file(constants, tmp_path / "constants.safetensors")
    assert torch.allclose(load_source(tmp_path)(tiles()), model(tiles()))
    assert np.allclose(run_onnx(tmp_path / "model.onnx", tiles().numpy()), model(tiles()).detach(), atol=1e-5)


def test_a_network_that_cannot_be_traced_is_refused_with_the_reason() -> None:
    model = Classifier(Undecided(), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)).eval()
    card = ModelCard("convnet", ("a", "b"), 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    with pytest.raises(ExportError, match=r"torch\.export cannot follow the network"):
        trace(model, card)


def test_weights_are_the_store_s_to_the_byte_and_the_configuration_says_what_they_are(exported: Exporter) -> None:
    store, run, done = exported("none")
    key = run.subjects[1].key
    written = (done.folder / "model.safetensors").read_bytes()
    assert written == store.read_bytes(f"{store.artifact('model', key)}/{MODEL_FILE}")
    assert "network.0.weight" in load_file(done.folder / "model.safetensors")
    config = json.loads((done.folder / "config.json").read_text())
    assert config["labels"] == ["cancer", "benign"]
    assert (config["architecture"], config["size"], config["key"]) == ("convnet", 8, key)
