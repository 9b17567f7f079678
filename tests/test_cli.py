import subprocess
import sys
from pathlib import Path

import pytest

import raypipe

JOBS = Path(__file__).parents[1] / "jobs"


def cli(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "raypipe.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_errors_of_an_experiment_are_told_without_a_traceback(tmp_path: Path) -> None:
    done = cli("validate", str(JOBS / "demo.yaml"), "--set", "train.epochs=0", "--set", "tiles.sise=3", cwd=tmp_path)
    assert done.returncode == 2
    assert "2 errors" in done.stderr
    assert "tiles.sise: no such setting; did you mean 'size'" in done.stderr
    assert "Traceback" not in done.stderr


def test_faults_elsewhere_do_not_hide_those_of_the_data(tmp_path: Path) -> None:
    done = cli("validate", str(JOBS / "paper.yaml"), "--set", "train.epochs=0", cwd=tmp_path)
    assert done.returncode == 2
    assert "2 errors" in done.stderr
    assert "train.epochs = 0" in done.stderr
    assert "LC25000.zip: not found" in done.stderr


def test_missing_data_is_an_error_before_anything_starts(tmp_path: Path) -> None:
    done = cli("run", str(JOBS / "paper.yaml"), cwd=tmp_path)
    assert done.returncode == 2
    assert "LC25000.zip" in done.stderr
    assert "not found" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_run_is_answered_with_those_there_are(tmp_path: Path) -> None:
    done = cli("results", "demo", cwd=tmp_path)
    assert done.returncode == 1
    assert "no finished run 'demo'" in done.stderr
    assert "none yet" in done.stderr


def test_planning_names_every_cell_and_writes_no_artifact(tmp_path: Path) -> None:
    done = cli("plan", str(JOBS / "demo.yaml"), "--storage", "store", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for cell in ("googlenet/deepfool/train", "resnet18/saliency_map/adversarial_training"):
        assert cell in done.stdout
    assert "466 cells" in done.stdout
    assert not (tmp_path / "store" / "artifacts").exists()


def test_importing_raypipe_starts_and_loads_nothing(tmp_path: Path) -> None:
    code = "import sys, raypipe; print(sorted({'ray', 'torch', 'art'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []


def test_commands_that_compute_nothing_do_not_load_ray() -> None:
    code = "import sys, raypipe.cli; print(sorted({'ray', 'art'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [["version"], ["--help"]])
def test_the_rest(arguments: list[str], tmp_path: Path) -> None:
    done = cli(*arguments, cwd=tmp_path)
    assert done.returncode == 0
    assert raypipe.__version__ in done.stdout or "validate" in done.stdout
