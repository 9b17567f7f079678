"""A model of a run as files: elsewhere they give the model's logits, and the card states the measured figures."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from raypipe.cli.app import main
from raypipe.evaluation.results.compute import compute_result
from raypipe.evaluation.results.run import Run, write_run
from raypipe.export import onnx_file
from raypipe.export.onnx_file import run_onnx
from raypipe.export.source import ExportError, generate_source, load_source, trace
from raypipe.export.write import Export, export_model
from raypipe.models.artifacts import load_model
from raypipe.models.backbones import BACKBONES
from raypipe.models.backbones.lookup import get_backbone
from raypipe.models.checkpoint import ModelCard, load_classifier, save_classifier
from raypipe.models.classifier import Classifier
from raypipe.models.model_file import MODEL_FILE
from raypipe.models.transforms.base import InputTransform
from raypipe.models.transforms.bit_depth import BitDepth
from raypipe.models.transforms.gan_projection import GanProjection
from raypipe.models.transforms.gaussian_smoothing import GaussianSmoothing
from raypipe.storage.store import MANIFEST, Store
from tests.evaluation.handmade import CLEAN, HARDENED, hand_run

pytestmark = pytest.mark.xdist_group("export")  # in one process, so that the tests share the exported files
TRANSFORMS: dict[str, InputTransform | None] = {
    "none": None,
    "bit depth": BitDepth(bits=3),
    "smoothing": GaussianSmoothing(sigma=0.1, samples=3),
    "gan": GanProjection(latent=4, channels=4, finest=16, restarts=1, steps=1, step_size=1.0),
}
TILES = {
    "split": "paper", "leakage": 0.25, "synthetic": True, "rejected": 0,
    "counts": {"train": {"cancer": 6, "benign": 5}, "test": {"cancer": 4, "benign": 4}},
}  # fmt: skip
EXPERIMENT: dict[str, Any] = {
    "name": "hand", "data": {"source": "folder", "path": "/home/somebody/tiles"},
    "defenses": {"at": {"name": "adversarial_training", "epochs": 3}},
}  # fmt: skip


def classifier(
    backbone: str,
    transform: InputTransform | None = None,
    labels: tuple[str, ...] = ("cancer", "benign"),
    resize: int | None = None,
) -> Any:
    """Return a network with its own statistics, and logits that differ between tiles."""
    torch.manual_seed(0)
    model = Classifier(get_backbone(backbone).build(len(labels)), (0.4, 0.5, 0.6), (0.3, 0.2, 0.1), transform, resize)
    model.train()
    model.network(torch.randn(16, 3, 32, 32))
    return model.eval(), ModelCard(backbone, labels, 8, (0.4, 0.5, 0.6), (0.3, 0.2, 0.1), transform, resize)


def stored(
    folder: Path, transform: InputTransform | None = None, backbone: str = "convnet", resize: int | None = None
) -> tuple[Store, Run]:
    """Store the handmade run with models and with the facts of ingest about its tiles."""
    store = Store.open(str(folder / "results"))
    run = hand_run(store)
    for subject in run.subjects:
        model, card = classifier(backbone, transform if subject.defense else None, resize=resize)
        store.write_bytes(f"{store.artifact('model', subject.key)}/{MODEL_FILE}", save_classifier(model, card))
        store.publish("model", subject.key, {})
    (clean, *_) = run.pairings
    store.write_record(f"{store.artifact('tiles', clean.tiles)}/{MANIFEST}", TILES)
    store.write_bytes("runs/hand/experiment.yaml", yaml.safe_dump(EXPERIMENT).encode())
    compute_result(store, run)
    return store, run


def tiles(count: int = 5) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


WITHOUT_RAYPIPE = """
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "raypipe":
            raise ImportError("raypipe is not there")
sys.meta_path.insert(0, Refused())
"""


Exporter = Callable[[str], tuple[Store, Run, Export]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exporter:
    """Return a function that exports the hardened model with an input transform, once for all tests of its files."""

    @cache
    def export(transform: str) -> tuple[Store, Run, Export]:
        folder = tmp_path_factory.mktemp("run")
        store, run = stored(folder, TRANSFORMS[transform])
        return store, run, export_model(store, "hand", HARDENED, folder / "exported")

    return export


@pytest.fixture
def without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the ONNX extra, as if it were not installed, for tests of other files."""
    monkeypatch.setitem(sys.modules, "onnxscript", None)


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


def card_of(folder: Path) -> tuple[dict[str, Any], str]:
    _, front, text = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), text


@pytest.mark.usefixtures("without_onnx")
def test_the_card_tells_figures_threats_stamps_and_gaps(tmp_path: Path) -> None:
    store, run = stored(tmp_path)
    write_run(store, run.model_copy(update={"stamps": {"group": ("LEAKY: 25.0% of them",)}}))
    compute_result(store, run.model_copy(update={"stamps": {"group": ("LEAKY: 25.0% of them",)}}))
    export_model(store, "hand", HARDENED, tmp_path / "exported", weights_license="cc-by-4.0")
    front, text = card_of(tmp_path / "exported")
    assert front["license"] == "cc-by-4.0"
    assert "leaky" in front["tags"]
    (results,) = front["model-index"][0]["results"]
    # Computed manually from the 8 tiles of tests.evaluation.handmade: clean accuracy of all and of the attacked tiles,
    # static, adaptive, worst case of any size, and worst case within 2/255.
    assert [metric["value"] for metric in results["metrics"]] == [1.0, 1.0, 0.875, 0.5, 0.375, 0.625]
    assert len({metric["name"] for metric in results["metrics"]}) == 6
    figures = text.split("## Figures")[1].split("| clinical errors in %")[0]
    rows = {line.split(" | ")[0].strip("| "): line for line in figures.splitlines() if line.startswith("| ")}
    assert rows["clean"].split(" | ")[5] == "100.0 [39.8, 100.0]"
    assert rows["static"].split(" | ")[1:5] == ["cw", "minimal l2", "transfer", "net"]
    assert rows["adaptive"].split(" | ")[4] == "itself"
    for said in (
        "**LEAKY: 25.0% of them**", "Not checked: no sanity checks", "at random, as in the paper", "25.0 % of the test",
        "drawn by a program", "tiles crafted against other networks (transfer)", "adversarial_training",
        "model/" + run.subjects[1].key, "cc-by-4.0", "11 tiles for training",
    ):  # fmt: skip
        assert said in text, said
    assert "/home/somebody" not in text, "where the data lay is nobody's business"


@pytest.mark.usefixtures("without_onnx")
def test_a_license_that_nobody_stated_is_not_made_up(tmp_path: Path) -> None:
    store, _ = stored(tmp_path)
    export_model(store, "hand", CLEAN, tmp_path / "exported")
    front, text = card_of(tmp_path / "exported")
    assert front["license"] == "unknown"
    assert "License of these weights: not stated" in text


def test_no_name_becomes_markup(tmp_path: Path) -> None:
    store, run = stored(tmp_path)
    hostile = "<script>|`*[x](javascript:a)\n---\n# '''\"\"\""
    model, card = classifier("convnet", labels=(hostile, "benign"))
    store.write_bytes(f"{store.artifact('model', run.subjects[0].key)}/{MODEL_FILE}", save_classifier(model, card))
    export_model(store, "hand", CLEAN, tmp_path / "exported")
    _, text = card_of(tmp_path / "exported")
    lines = [line for line in text.splitlines() if "javascript" in line]
    assert lines
    for line in lines:
        assert "&lt;script&gt;\\|\\`\\*\\[x\\](javascript:a) --- # '''\"\"\"" in line
    (line,) = [line for line in lines if "benign" in line]
    assert "&lt;script&gt;\\|\\`\\*\\[x\\](javascript:a) --- # '''\"\"\", benign." in line
    found: dict[str, Any] = {}
    exec((tmp_path / "exported" / "model.py").read_text().split("SIZE =")[0].split("import Tensor, nn")[1], found)
    assert found["LABELS"] == (hostile, "benign")


def test_the_card_s_five_lines_run_in_its_folder(exported: Exporter, tmp_path: Path) -> None:
    shutil.copytree(exported("none")[2].folder, tmp_path / "exported")
    _, text = card_of(tmp_path / "exported")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len([line for line in code.splitlines() if line.strip()]) == 5
    Image.new("RGB", (20, 30), (200, 90, 120)).save(tmp_path / "exported" / "tile.png")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAYPIPE + code], cwd=tmp_path / "exported", capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.strip() in ("cancer", "benign")


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["raypipe", "export", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.usefixtures("without_onnx")
def test_the_command_writes_once_and_refuses_to_overwrite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(tmp_path)
    arguments = ["hand", "--model", HARDENED, "--storage", str(tmp_path / "results"), "--out", str(tmp_path / "out")]
    assert command(monkeypatch, *arguments) == 0
    assert "Exported:" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert command(monkeypatch, *arguments) == 2
    assert "give the name of a new folder" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".tmp")] == []


def test_an_unknown_model_is_answered_with_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(tmp_path)
    where = ["--storage", str(tmp_path / "results"), "--out", str(tmp_path / "out")]
    assert command(monkeypatch, "hand", "--model", "net/cw/att", *where) == 2
    said = capsys.readouterr().err
    assert f"expected one of {CLEAN}, {HARDENED}; did you mean '{HARDENED}'" in said
    assert not (tmp_path / "out").exists()
