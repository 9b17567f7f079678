import subprocess
import sys
from pathlib import Path

import pytest

import raypipe
from raypipe.cli import main
from raypipe.config import load_experiment
from raypipe.evaluation.results import compute_result
from raypipe.listing import prepare
from raypipe.store import FORMAT, Store
from tests.evaluation.handmade import hand_run

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


NEWER = {"format": FORMAT + 1, "raypipe": "9.1"}
REFUSED = (f"has format {FORMAT + 1}, written by raypipe 9.1; this is raypipe {raypipe.__version__}", "choose another")


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit status of a command that is refused, and what it says."""
    monkeypatch.setattr(sys, "argv", ["raypipe", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, capsys.readouterr().err


def test_a_run_of_a_newer_raypipe_is_refused(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "results"))
    hand_run(store)
    store.write_json("runs/hand/run.json", {**store.read_json("runs/hand/run.json"), **NEWER})
    done = cli("results", "hand", cwd=tmp_path)
    assert done.returncode == 1
    assert all(part in done.stderr for part in ("runs/hand/run.json", *REFUSED))
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [["results", "hand"], ["results", "hand", "--recompute"], ["report", "hand"], ["compare", "hand", "x"], ["index"]],
)
def test_every_command_on_runs_refuses_a_newer_format(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(str(tmp_path))
    compute_result(store, hand_run(store))
    store.write_json("runs/hand/run.json", {**store.read_json("runs/hand/run.json"), **NEWER})
    before = sorted(tmp_path.rglob("*"))
    code, said = refusal(monkeypatch, capsys, *command, "--storage", str(tmp_path))
    assert code == 1
    assert all(part in said for part in REFUSED)
    assert sorted(tmp_path.rglob("*")) == before, "nothing was written"


def test_an_artifact_of_a_newer_raypipe_is_refused_before_work_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text("{name: tiny, data: {source: synthetic}, models: [resnet18], attacks: [deepfool]}")
    cell = prepare(load_experiment(path, [f"storage={tmp_path}"])).plan.cells[0]
    store = Store.open(str(tmp_path))
    store.write_json(f"{store.artifact(cell.kind, cell.key)}/_manifest.json", NEWER)
    code, said = refusal(monkeypatch, capsys, "plan", str(path), "--storage", str(tmp_path))
    assert code == 1
    assert all(part in said for part in (f"{cell.kind}/{cell.key}", *REFUSED))


def test_a_damaged_table_is_told_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store.open(str(tmp_path))
    compute_result(store, hand_run(store))
    store.write_bytes("runs/hand/records.parquet", b"PAR1 cut short")
    code, said = refusal(monkeypatch, capsys, "results", "hand", "--storage", str(tmp_path))
    assert code == 1
    assert "records.parquet: cannot be read" in said
    assert "make it anew" in said


def test_messages_cannot_steer_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        (tmp_path / "tiles" / name).mkdir(parents=True)
        (tmp_path / "tiles" / name / "\x1b]0;owned\x07\x1b[2J.png").write_bytes(b"x")
    path = tmp_path / "tiny.yaml"
    path.write_text("{name: tiny, data: {source: folder, path: tiles}, models: [resnet18], attacks: [deepfool]}")
    monkeypatch.chdir(tmp_path)
    code, said = refusal(monkeypatch, capsys, "validate", str(path))
    assert code == 2
    assert r"\x1b]0;owned\x07\x1b[2J.png" in said
    assert "\x1b" not in said
