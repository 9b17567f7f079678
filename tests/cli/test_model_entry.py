"""A finished model that enters by the command line: notices, refusals, and the exit status without gradients."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from raypipe.cli.app import main

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


class Tiny(nn.Module):
    """A linear network of 8 by 8 pixels, with something at its end or its beginning."""

    def __init__(self, kind: str = "") -> None:
        super().__init__()
        self.kind = kind
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layer = nn.Linear(192, 2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layer((images.detach() if self.kind == "blind" else images).flatten(1))
        return logits.softmax(1) if self.kind == "softmax" else logits


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with six tiles, half of them of each class of the network, and the network in three forms."""
    monkeypatch.chdir(tmp_path)
    rng, model = np.random.default_rng(0), Tiny()
    for number in range(6):
        image = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        with torch.no_grad():
            label = "ab"[int(model(torch.from_numpy(image).permute(2, 0, 1)[None] / 255).argmax())]
        (tmp_path / "tiles" / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "tiles" / label / f"{number}.png")
    for name in ("a", "b"):
        (tmp_path / "tiles" / name).mkdir(exist_ok=True)
        if not any((tmp_path / "tiles" / name).iterdir()):
            Image.new("RGB", (8, 8)).save(tmp_path / "tiles" / name / "black.png")
    for kind in ("", "softmax", "blind"):
        torch.jit.save(torch.jit.trace(Tiny(kind), torch.rand(2, 3, 8, 8)), tmp_path / f"{kind or 'plain'}.pt")
    example, batch = torch.rand(2, 3, 8, 8), ({0: torch.export.Dim("batch")},)
    program = torch.export.export(Tiny("softmax"), (example,), dynamic_shapes=batch)
    torch.export.save(program, tmp_path / "softmax.pt2")
    return tmp_path


def attack(monkeypatch: pytest.MonkeyPatch, model: str, *more: str) -> int:
    settings = ["--attack", "pgd", "--set", "eps=16/255", "--set", "max_iterations=3", "--size", "8"]
    monkeypatch.setattr(sys, "argv", ["raypipe", "attack", model, "tiles", *settings, "--out", f"out-{model}", *more])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_healthy_model_causes_no_notice(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attack(monkeypatch, "plain.pt") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("model", ["softmax.pt", "softmax.pt2"])
def test_a_softmax_is_recognized(
    model: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = attack(monkeypatch, model), capsys.readouterr()
    assert status == 0, said.err
    assert said.err.startswith("the model gives probabilities (as a softmax does), not logits")
    assert len(said.err.splitlines()) == 1


def test_a_model_without_gradients_gives_no_success_and_an_exit_status(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attack(monkeypatch, "blind.pt") == 1
    said = capsys.readouterr()
    assert "tiles have no gradient: a white-box attack that fails on them does not show robustness" in said.err
    assert "Adversarial tiles: out-blind.pt" in said.out, "the results are written all the same"
    few = [word for field in ("autoattack=null", "checks=null", "curves={}") for word in ("--set", field)]
    words = ["evaluate", "blind.pt", "tiles", "--size", "8", "--attacks", "fgsm", *few, "--out", "judged", "--json"]
    monkeypatch.setattr(sys, "argv", ["raypipe", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "its white-box attacks cannot show robustness" in capsys.readouterr().err


@pytest.mark.parametrize("device", ["meta", "nowhere", "cuda:x"])
def test_a_device_that_runs_no_attack_is_refused(
    device: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attack(monkeypatch, "plain.pt", "--device", device) == 2
    assert f"--device {device}: " in capsys.readouterr().err


def test_a_model_below_a_requirement_ends_with_its_own_status_and_files_for_ci(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [word for field in ("autoattack=null", "checks=null", "curves={}") for word in ("--set", field)]

    def evaluate(*more: str) -> tuple[int, str, str]:
        words = ["evaluate", "plain.pt", "tiles", "--size", "8", "--attacks", "fgsm", *few, "--out", "judged", *more]
        monkeypatch.setattr(sys, "argv", ["raypipe", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    files = ["--junit", "ci/junit.xml", "--sarif", "ci/raypipe.sarif"]
    status, _, said = evaluate("--fail-under", "robust=0.9@linf:64/255", "--fail-under", "clean=0.5", *files)
    assert status == 3, said
    assert "evaluate: 1 requirement not met" in said
    assert "robust=0.9@linf:64/255: robust accuracy in the ball linf:64/255 is " in said
    junit = (place / "ci" / "junit.xml").read_text()
    assert junit.count("<testcase") == 2
    assert junit.count("<failure") == 1
    assert [
        result["kind"] for result in json.loads((place / "ci" / "raypipe.sarif").read_text())["runs"][0]["results"]
    ] == [
        "fail",
        "pass",
    ]
    status, said, _ = evaluate("--fail-under", "clean=0.5", "--fail-under", "robust=0@l2:1")
    assert (status, "Requirements met: clean=0.5, robust=0@l2:1" in said) == (0, True)
    status, _, said = evaluate("--fail-under", "clean=80", "--fail-under", "robust=1", "--junit", "no/junit.xml")
    assert status == 2
    assert len(said.splitlines()) == 3, "every error at once"
    assert not (place / "no").exists(), "nothing ran"
