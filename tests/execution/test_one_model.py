"""One model on one folder without an experiment file, from the command line and from Python."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

import raypipe
from raypipe.base.errors import ConfigError
from raypipe.evaluation.checks.rules import CHECKS
from raypipe.evaluation.results.result import load_result
from raypipe.evaluation.statistics.intervals import estimate_ratio, group_tiles
from raypipe.models.classifier import Classifier
from raypipe.storage.schemas import ADVERSARIALS, TILES
from raypipe.storage.store import Store
from tests.evaluation.laws import require_worst_cases
from tests.execution.one_model import CASES, NAMES, SIZE, batch, command, predicted

ORDER = ",".join(NAMES)
FORMS = {
    "exported": ["exported"],
    "checkpoint": ["exported/model.safetensors"],
    "torch.export": ["model.pt2", "--size", str(SIZE), "--labels", ORDER],
    "TorchScript": ["model.pt", "--size", str(SIZE), "--labels", ORDER],
    "backbone": ["convnet", "--weights", "state.pth", "--mean", "0.5,0.5,0.5", "--size", str(SIZE), "--labels", ORDER],
}


@pytest.mark.parametrize("form", FORMS)
def test_a_model_in_any_form_is_attacked_to_the_same_effect(
    form: str, place: Path, trained: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    options = ["--attack", "pgd", "--set", "eps=16/255", "--group-pattern", r"case(\d)", "--batch", "8"]
    model, *how = FORMS[form]
    assert command(monkeypatch, place, "attack", model, "tiles", *how, *options, "--out", str(out)) == 0
    said = capsys.readouterr().out
    assert "linf <= 16/255, white-box, untargeted, 8-bit" in " ".join(said.split())
    assert "1 file could not be read" in said
    made, clean = pq.read_table(out / "adversarials.parquet"), pq.read_table(out / "tiles.parquet")
    assert made.schema.equals(ADVERSARIALS)
    assert clean.schema.equals(TILES)
    assert made.num_rows == 2 * CASES * len(NAMES)
    success = made["success"].to_numpy()
    assert success.sum() > 5, "the attack works"
    # The model alone classifies the PNGs again here.
    wrong = np.zeros(len(success), dtype=bool)
    names = zip(*(clean[name].to_pylist() for name in ("label_name", "source_path", "sample_id")), strict=True)
    for row, (label, source, name) in enumerate(names):
        (file,) = (out / "images" / label).glob(f"*{name}.png")
        assert file.name == f"{Path(source).stem}-{name}.png"
        pixels = np.asarray(Image.open(file))
        original = np.asarray(Image.open(place / "tiles" / source))
        assert np.abs(pixels.astype(int) - original).max() <= 16
        logits = trained(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255)
        wrong[row] = NAMES[int(logits.argmax())] != label
    right = made["clean_prediction"].to_numpy() == made["label"].to_numpy()
    assert (wrong[right] == success[right]).all()
    groups = group_tiles(clean["group_id"].to_pylist())
    value, low, high = estimate_ratio(success, right, groups)
    (line,) = [line for line in said.splitlines() if line.strip().startswith("success")]
    assert f"{100 * value:.1f} %" in line
    assert f"{100 * low:.1f} - {100 * high:.1f} %" in line


def test_what_is_there_is_not_overwritten(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("kept")
    for words in (["attack"], ["evaluate"]):
        assert command(monkeypatch, place, *words, "exported", "tiles", "--out", str(tmp_path)) == 2
        assert "exists and is not empty: give the name of a new folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


REFUSED = {
    "an unknown attack": (["exported", "tiles", "--attack", "deepfol"], "did you mean 'deepfool'"),
    "an unknown setting": (["exported", "tiles", "--attack", "pgd", "--set", "epss=1"], "epss: no such setting"),
    "pixels that are not scaled": (["exported", "tiles", "--attack", "pgd", "--set", "eps=8"], "eps"),
    "no folder": (["exported", "elsewhere"], "not found"),
    "no model": (["resnet19", "tiles"], "did you mean 'resnet18'"),
    "no weights": (["convnet", "tiles", "--size", "32"], "a backbone without weights knows nothing"),
    "another backbone's weights": (["resnet18", "tiles", "--weights", "state.pth"], "none of the network's 122"),
    "no size": (["model.pt2", "tiles", "--labels", ORDER], "give --size"),
    "the wrong size": (["model.pt2", "tiles", "--size", "16", "--labels", ORDER], "does not take float32 tiles"),
    "too few classes": (["model.pt2", "tiles", "--size", "32", "--labels", "dots"], "does not know the class plain"),
    "too many classes": (["model.pt2", "tiles", "--size", "32", "--labels", f"{ORDER},x"], "the model gives 3 logits"),
    "a state without its backbone": (["state.pth", "tiles", "--size", "32"], "give the backbone's name"),
    "ONNX": (["model.onnx", "tiles", "--size", "32"], "cannot be opened as an ONNX file"),
    "weights twice": (["exported", "tiles", "--weights", "state.pth"], "its own weights"),
    "two colors": (["convnet", "tiles", "--weights", "state.pth", "--mean", "1,2"], "expected three numbers"),
    "no such device": (["exported", "tiles", "--device", "nowhere"], "--device nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_attacked_is_told_in_a_sentence(
    case: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, expected = REFUSED[case]
    code = command(monkeypatch, place, "attack", *arguments, "--out", str(tmp_path / "out"))
    said = capsys.readouterr().err
    assert code in (1, 2)
    assert expected in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_evaluate_judges_as_a_run_does_and_says_what_it_leaves_out(
    place: Path,
    trained: Classifier,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    few = [word for field in ("evaluation.checks.max_queries=30", "checks.planted_tiles=15",
            "autoattack.max_queries=30", "autoattack.max_iterations=5") for word in ("--set", field)]  # fmt: skip
    options = [
        "--all",
        "--attacks",
        "deepfool,pgd",
        "--eps",
        "16/255",
        "--group-pattern",
        r"case(\d)",
        "--batch",
        "8",
        *few,
    ]
    assert command(monkeypatch, place, "evaluate", "exported", "tiles", *options, "--out", str(out)) == 0
    said = capsys.readouterr().out
    for part in ("Not measured, because they need other models", "LEAKY?", "Sanity checks", "worst", "16/255"):
        assert part in said
    assert "undefended" not in said, "what was done to a model before is not known here"
    assert "Table 2" not in said, "nothing was hardened"
    assert command(monkeypatch, place, "results", "exported", "--all", "--storage", str(out)) == 0
    tables = capsys.readouterr().out.rpartition("Results: ")[0]
    assert tables in said, "both commands print the same tables"
    result = load_result(Store.open(str(out)), "exported")
    rows = {(row["protocol"], row["attack"], row["eps"]): row for row in result.records.to_pylist()}
    images, labels = given(place)
    assert rows["clean", None, None]["accuracy"] == pytest.approx((predicted(trained, images) == labels).mean())
    assert rows["white-box", "deepfool", None]["accuracy"] == 0
    bounded = rows["white-box", "pgd", 16 / 255]
    assert bounded["accuracy_low"] <= bounded["accuracy"] < rows["clean", None, None]["accuracy"]
    assert bounded["accuracy"] <= bounded["accuracy_high"] <= 1
    worst, ensemble = rows["worst case", None, 16 / 255], rows["white-box", "autoattack linf", 16 / 255]
    assert worst["accuracy"] <= ensemble["accuracy"] <= bounded["accuracy"]
    require_worst_cases(result.records.to_pylist())
    assert {row["groups"] for row in result.records.to_pylist()} == {CASES}
    checks = {row["check"]: row["verdict"] for row in result.checks.to_pylist()}
    assert list(checks) == [rule.name for rule in CHECKS]
    assert checks["white-box beats transfer"] == "not applicable"
    assert checks["reproducible predictions"] == checks["stored tiles fool as recorded"] == "pass"
    written = json.loads((out / "runs" / "exported" / "results.json").read_text())
    assert written["records"] == result.records.to_pylist()
    # The commands on runs accept the result, because it is a run.
    for words in (["results", "exported"], ["report", "exported"]):
        assert command(monkeypatch, place, *words, "--storage", str(out)) == 0
    assert (out / "runs" / "exported" / "report.html").is_file()


def given(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    files = [(file, label) for label, name in enumerate(NAMES) for file in (folder / "tiles" / name).glob("case*")]
    return np.stack([np.asarray(Image.open(file)) for file, _ in files]), np.array([label for _, label in files])


class Counted(nn.Module):
    """A module of any kind, in training mode, with its own gradients."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)


def test_python_attacks_any_module_and_gives_it_back_as_it_was(trained: Classifier) -> None:
    images, labels = batch(12, first=0)
    model = Counted(trained).train()
    before = images.copy()
    made = raypipe.attack(model, images, labels, "deepfool", overshoot=0.1)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert (images == before).all()
    assert made.success.all()
    assert (predicted(trained.eval(), made.images) != labels).all()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"images": np.zeros((2, 8, 8, 4), np.float32)}, r"expected uint8 or floats in \[0, 1\]"),
        ({"labels": np.array([0, 1])}, r"expected \(12,\) whole numbers"),
        ({"labels": np.full(12, 7)}, "labels up to 7"),
        ({"classes": ["a", "b"]}, "labels up to 2, but 2 classes"),
        ({"name": "deepfol"}, "did you mean 'deepfool'"),
        ({"epps": 1}, "no such setting"),
    ],
)
def test_python_is_told_what_does_not_fit(change: dict[str, object], expected: str, trained: Classifier) -> None:
    images, labels = batch(12, first=0)
    with pytest.raises((ValueError, ConfigError), match=expected):
        raypipe.attack(**{"model": trained, "images": images, "labels": labels, "name": "deepfool", **change})
