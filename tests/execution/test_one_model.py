"""One model on one folder without an experiment file, from the command line and from Python."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import raypipe
from raypipe.base.errors import ConfigError
from raypipe.cli.app import main
from raypipe.evaluation.checks.rules import CHECKS
from raypipe.evaluation.results.result import load_result
from raypipe.evaluation.statistics.intervals import estimate_ratio, group_tiles
from raypipe.models.backbones import BACKBONES
from raypipe.models.checkpoint import ModelCard, save_classifier
from raypipe.models.classifier import Classifier
from raypipe.storage.schemas import ADVERSARIALS, TILES
from raypipe.storage.store import Store
from tests.evaluation.handmade import hand_run
from tests.evaluation.laws import require_worst_cases

NAMES = ("stripes", "dots", "plain")
SIZE = 32
CASES = 4
HALF = (0.5, 0.5, 0.5)


def draw(label: int, seed: int) -> NDArray[np.uint8]:
    """Return a tile that even a small network learns in seconds."""
    rng = np.random.default_rng([label, seed])
    image = rng.normal(128, 12, (SIZE, SIZE, 3))
    image[:, ::4] += 60 * (label == 0)
    image[::4, ::4] += 90 * (label == 1)
    image[..., label] += 15
    return image.clip(0, 255).astype(np.uint8)


def batch(count: int, first: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    labels = np.arange(count) % len(NAMES)
    return np.stack([draw(int(label), first + place) for place, label in enumerate(labels)]), labels


@pytest.fixture(scope="module")
def trained() -> Classifier:
    images, labels = batch(96, first=1000)
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Classifier(BACKBONES["convnet"].build(len(NAMES)), HALF, HALF)
        optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
        for _ in range(25):
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), torch.from_numpy(labels)).backward()
            optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def place(trained: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of tiles, and of the model in every form that the commands take."""
    folder = tmp_path_factory.mktemp("given")
    for label, name in enumerate(NAMES):
        (folder / "tiles" / name).mkdir(parents=True)
        for number in range(2 * CASES):
            Image.fromarray(draw(label, number)).save(folder / "tiles" / name / f"case{number // 2}-{number}.png")
    (folder / "tiles" / "dots" / "broken.png").write_bytes(b"no image")
    (folder / "exported").mkdir()
    # The order differs from that of the folders, so labels must be matched by name.
    card = ModelCard("convnet", NAMES, SIZE, HALF, HALF)
    (folder / "exported" / "model.safetensors").write_bytes(save_classifier(trained, card))
    torch.jit.save(torch.jit.trace(trained, torch.rand(1, 3, SIZE, SIZE)), folder / "model.pt")
    batches = ({0: torch.export.Dim("batch")},)
    torch.export.save(
        torch.export.export(trained, (torch.rand(2, 3, SIZE, SIZE),), dynamic_shapes=batches), folder / "model.pt2"
    )
    torch.save(trained.network.state_dict(), folder / "state.pth")
    (folder / "model.onnx").write_bytes(b"no ONNX")
    return folder


ORDER = ",".join(NAMES)
FORMS = {
    "exported": ["exported"],
    "checkpoint": ["exported/model.safetensors"],
    "torch.export": ["model.pt2", "--size", str(SIZE), "--labels", ORDER],
    "TorchScript": ["model.pt", "--size", str(SIZE), "--labels", ORDER],
    "backbone": ["convnet", "--weights", "state.pth", "--mean", "0.5,0.5,0.5", "--size", str(SIZE), "--labels", ORDER],
}


def command(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> int:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["raypipe", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


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


def test_a_finished_evaluation_is_reused_unless_it_is_forced(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    few = [word for field in ("autoattack=null", "checks=null", "curves={}") for word in ("--set", field)]
    asked = ["evaluate", "exported", "tiles", "--attacks", "fgsm", "--tiles", "6", *few, "--out", str(out), "--quiet"]
    assert command(monkeypatch, place, *asked) == 0
    first, said = made(out), capsys.readouterr().out
    assert "Results: " in said
    assert "tiles done" not in said, "no progress"
    assert command(monkeypatch, place, *asked) == 0
    assert made(out) == first
    assert command(monkeypatch, place, *asked, "--force") == 0
    again = made(out)
    assert again.keys() == first.keys()
    assert all(again[path] > first[path] for path in first)


def test_a_stopped_attack_says_what_is_kept_and_continues(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    asked = ["attack", "exported", "tiles", "--attack", "fgsm", "--tiles", "6", "--out", str(out), "--quiet"]

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopping:
        stopping.setattr("raypipe.execution.attack.tabulate_adversarials", stopped)
        assert command(stopping, place, *asked) == 130
    assert capsys.readouterr().out == (
        f"Stopped by SIGINT while it attacked. Finished shards are kept in {out}: run the same command again to "
        "continue.\n"
    )
    assert command(monkeypatch, place, *asked) == 0
    said = capsys.readouterr().out
    assert "Adversarial tiles: " in said
    assert "passes per tile" not in said, "no table"
    assert command(monkeypatch, place, *asked) == 2
    assert "give a new folder, or --force" in capsys.readouterr().err
    assert command(monkeypatch, place, *asked, "--force") == 0
    assert len(list(out.glob("images/*/*.png"))) >= 5, "all but the broken file, if it is among the six"


def test_an_attack_of_the_evaluation_that_a_check_makes_too_is_made_once(trained: Classifier, tmp_path: Path) -> None:
    images, labels = batch(6, first=0)
    bounded = {"name": "pgd", "max_iterations": 3}
    settings = {
        "bounded": bounded,
        "autoattack": {"max_iterations": 3, "max_queries": 5},
        "curves": {"linf": [4 / 255]},
        "checks": {"eps": 4 / 255, "max_queries": 5, "planted_tiles": 15},
    }
    attacks = {"mine": {**bounded, "eps": 4 / 255}}
    result = raypipe.evaluate(trained, images, labels, attacks, to=str(tmp_path / "out"), **settings)
    names = [row["cell"] for row in result.costs.to_pylist() if row["stage"] == "attack"]
    assert "model/mine/test" in names
    assert "model/check/reference/test" not in names
    assert "model/autoattack linf/test" in names
    assert "check/reference" in result.records["attack"].to_pylist()


def test_an_evaluation_goes_on_where_it_was_stopped(
    trained: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = batch(6, first=0)
    budget = {"max_iterations": 3, "max_queries": 5}
    settings = {"curves": {"linf": [4 / 255]}, "autoattack": budget, "checks": None, "to": str(tmp_path / "out")}

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as stopping:
        stopping.setattr("raypipe.execution.evaluate.tabulate_predictions", stopped)
        with pytest.raises(KeyboardInterrupt):
            raypipe.evaluate(trained, images, labels, ["deepfool"], **settings)
    stopped_at = made(tmp_path / "out")
    first = raypipe.evaluate(trained, images, labels, ["deepfool"], **settings)
    after_first = made(tmp_path / "out")
    assert stopped_at.items() <= after_first.items()
    again = raypipe.evaluate(trained, images, labels, ["deepfool", "fgsm"], **settings)
    after_again = made(tmp_path / "out")
    assert after_first.items() <= after_again.items()
    assert len(after_again) == len(after_first) + 4, "the other attack, the ensemble after it, and two predictions"
    before = [row for row in again.records.to_pylist() if row["attack"] == "deepfool"]
    assert before == [row for row in first.records.to_pylist() if row["attack"] == "deepfool"]
    costs = [
        {row["cell"]: row["seconds"] for row in result.costs.to_pylist() if "autoattack" not in row["cell"]}
        for result in (first, again)
    ]
    assert costs[0].items() <= costs[1].items()


def test_an_evaluation_is_reported_and_compared_beside_the_run_of_an_experiment(
    trained: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(str(tmp_path))
    hand_run(store)
    images, labels = batch(6, first=0)
    settings: dict[str, Any] = {"curves": {}, "autoattack": None, "checks": None, "to": str(tmp_path)}
    first = raypipe.evaluate(trained, images, labels, ["fgsm"], name="first", **settings)
    raypipe.evaluate(trained, images, labels, ["deepfool"], name="second", **settings)
    assert (tmp_path / "runs" / "first" / "report.html").is_file()
    again = load_result(store, "first")
    assert again.records.equals(first.records), "the second evaluation leaves the first one unchanged"
    for words in (["report", "first"], ["compare", "hand", "first", "second"], ["index"], ["status", "first"]):
        capsys.readouterr()
        assert command(monkeypatch, tmp_path, *words, "--storage", str(tmp_path)) == 0, capsys.readouterr().err
    index = (tmp_path / "index.html").read_text()
    assert all(name in index for name in ("hand", "first", "second"))
    with pytest.raises(FileExistsError, match="has a run 'hand' of an experiment: give the model another name"):
        raypipe.evaluate(trained, images, labels, ["fgsm"], name="hand", **settings)


def test_what_was_found_out_is_not_taken_for_other_labels_or_another_model(trained: Classifier, tmp_path: Path) -> None:
    images, labels = batch(6, first=0)
    budget = {"max_iterations": 3, "max_queries": 5}
    settings = {"checks": None, "curves": {}, "autoattack": budget, "to": str(tmp_path / "out")}
    first = raypipe.evaluate(trained, images, labels, ["fgsm"], **settings)
    other = raypipe.evaluate(trained, images, (labels + 1) % len(NAMES), ["fgsm"], **settings)
    assert first.records["accuracy"][0].as_py() > 0.5
    assert other.records["accuracy"][0].as_py() < 0.5, "nearly all of these labels are wrong"
    turned = copy.deepcopy(trained)
    turned.classify = lambda images: -type(trained).classify(trained, images)  # the same state with other code
    with pytest.raises(FileExistsError, match="whose logits differ: give the name of a new folder"):
        raypipe.evaluate(turned, images, labels, ["fgsm"], **settings)


def made(folder: Path) -> dict[Path, int]:
    """Return when each artifact was finished."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("artifacts/*/*/_manifest.json")}


def given(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    files = [(file, label) for label, name in enumerate(NAMES) for file in (folder / "tiles" / name).glob("case*")]
    return np.stack([np.asarray(Image.open(file)) for file, _ in files]), np.array([label for _, label in files])


def predicted(model: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    with torch.no_grad():
        return model(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).argmax(1).numpy()


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
        ({"images": np.zeros((2, 3, 8, 8), np.float32)}, r"expected uint8 \(n, h, w, 3\)"),
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
