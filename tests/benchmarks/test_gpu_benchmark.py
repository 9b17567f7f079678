"""The benchmark of a GPU, on a CPU and on tiny settings: every section runs, and no section loses another's rows."""

import json
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.attacks.contestants import EPS
from benchmarks.attacks.ours import make_contestant
from benchmarks.attacks.peers import ART
from benchmarks.gpu import attacks
from benchmarks.gpu.__main__ import NO_GPU, RECORD, main, parse
from benchmarks.gpu.options import Options
from benchmarks.gpu.sections import SECTIONS
from benchmarks.gpu.victim import FILE, load_victim

pytestmark = pytest.mark.xdist_group("gpu-benchmark")  # in one process, which trains the victim once
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    rows_of("victim", folder)
    return folder


def rows_of(section: str, folder: Path) -> list[dict[str, Any]]:
    """Run a section in this process, and return its rows."""
    options = Options(CPU, quick=True, folder=folder, section=section, seconds=1e6)
    SECTIONS[section].run(options)
    return [json.loads(line) for line in options.rows_file.read_text().splitlines()]


def test_the_limits_of_all_sections_fit_into_eight_minutes() -> None:
    assert sum(section.seconds for section in SECTIONS.values()) < 8 * 60


def test_the_victim_is_stored_with_tiles_that_it_classifies_correctly(folder: Path) -> None:
    victim = load_victim(Options(CPU, quick=True, folder=folder, section="test", seconds=1))
    with torch.no_grad():
        assert torch.equal(victim.model(victim.floats(CPU)).argmax(1), victim.labels)
    assert len(victim.train_labels) == 5 * 12


@pytest.mark.parametrize("family", attacks.FAMILIES)
def test_success_and_distortion_are_those_of_the_returned_images(
    folder: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = make_contestant(
        "autoattack", "small", "autoattack", norm="linf", eps=EPS, max_iterations=2, max_queries=5, targets=2
    )
    kept = [entry for entry in attacks.CONTESTANTS if entry.attack == family and not entry.slow]
    kept = [entry for entry in kept if entry.ours or (family == "pgd" and entry.library == ART)]
    kept = [small] if family == "autoattack" else kept
    monkeypatch.setattr(attacks, "CONTESTANTS", tuple(kept))
    (folder / f"{family}.jsonl").unlink(missing_ok=True)
    rows = rows_of(family, folder)
    assert [(row["library"], row["label"]) for row in rows if not row["stored"]] == [(e.library, e.label) for e in kept]
    assert {row["label"] for row in rows if row["stored"]} == {entry.label for entry in kept if entry.ours}
    for row in rows:
        assert "error" not in row, row
        assert row["images_per_second"] == pytest.approx(row["tiles"] / min(row["seconds"]))
        assert 0 <= row["success"] <= 1
        assert (row["l2_median"] is None) == (row["success"] == 0)
        if family in ("pgd", "autoattack") and row["success"]:
            assert row["linf_max"] <= EPS + 1e-6
        if row["stored"]:
            assert row["success_in_8_bits"] == row["success"], "stored tiles are 8-bit tiles"
    if family in ("deepfool", "carlini_wagner_l2"):
        assert all(row["success"] == 1 for row in rows if row["stored"])


def test_every_library_has_a_contestant() -> None:
    assert {entry.library for entry in attacks.CONTESTANTS} == {"raypipe", "ART", "torchattacks", "foolbox", "adv-lib"}


def test_training_is_measured_in_both_precisions_and_compiled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace the compiled network without a C++ compiler, as the test of compiled fits does."""
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="aot_eager"))
    rows = rows_of("training", folder)
    fits = {(row["precision"], row["compile"]) for row in rows if "compile" in row}
    assert fits == {("fp32", False), ("bf16", False), ("fp32", True), ("bf16", True)}
    assert {row["precision"] for row in rows if row.get("loop") == "plain"} == {"fp32", "bf16"}
    assert all(len(row["seconds"]) == 2 and row["loss"] > 0 for row in rows)


def test_defense_gan_projects_in_single_precision_in_every_form(folder: Path) -> None:
    rows = rows_of("defense_gan", folder)
    assert [row["what"] for row in rows[:2]] == ["training", "prediction"]
    errors = {row["precision"]: row["logit_error"] for row in rows if row["what"] == "projection"}
    assert set(errors) == {"float32", "float16", "bfloat16"}
    assert errors["float32"] < 1e-4
    assert max(errors.values()) < 0.2


def test_half_precision_is_compared_with_single_precision(folder: Path) -> None:
    rows = rows_of("half_precision", folder)
    errors = {row["precision"]: row["logit_error"] for row in rows if "logit_error" in row}
    assert errors["float32"] < 1e-5 < errors["float16"] < errors["bfloat16"] < 0.2
    assert all(row["success"] == 1 for row in rows if row.get("attack") == "deepfool")


@pytest.mark.full
def test_two_processes_attack_at_once(folder: Path) -> None:
    alone, together = rows_of("sharing", folder)
    assert (alone["processes"], together["processes"]) == (1, 2)
    assert together["tiles"] == 2 * alone["tiles"]
    assert together["success"] == 2 * alone["success"]
    assert together["over_one_process"] == pytest.approx(together["images_per_second"] / alone["images_per_second"])


@pytest.mark.full
def test_a_section_that_fails_loses_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unlimited = ["--scale-limits", "1000", "--out", str(tmp_path)]
    main(["--device", "cpu", "--quick", "--sections", "deepfool", "victim", *unlimited])
    record = json.loads((tmp_path / RECORD).read_text())
    failed, done = record["sections"].values()
    assert failed["state"] == "failed"
    assert f"{FILE} is missing: the section `victim` must run first" in failed["error"]
    assert done["state"] == "done"
    assert done["rows"][0]["backbone"] == "convnet"
    assert record["device"] == {"name": "cpu", "note": NO_GPU}
    said = capsys.readouterr().out
    assert NO_GPU in said
    assert all(f"Not installed, so not measured: {library}" in said for library in record["not_installed"])


def test_a_section_ends_at_its_time_limit(tmp_path: Path) -> None:
    main(["--device", "cpu", "--sections", "victim", "--scale-limits", "0.001", "--out", str(tmp_path)])
    (part,) = json.loads((tmp_path / RECORD).read_text())["sections"].values()
    assert part["state"] == "ended at its time limit"
    assert part["rows"] == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_the_command_says_how_to_test_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([])
    assert "PyTorch finds no GPU here; --device cpu --quick tests the script without one" in capsys.readouterr().err
