import re
import subprocess
import sys
from pathlib import Path

import pytest

import raypipe
from raypipe.evaluation.results.compute import compute_result
from raypipe.experiment.load import load_experiment
from raypipe.plan.listing import prepare
from raypipe.storage.records import FORMAT
from raypipe.storage.store import Store
from tests.cli.conftest import Command
from tests.evaluation.handmade import hand_run

JOBS = Path(__file__).parents[2] / "jobs"


def test_errors_of_an_experiment_are_told_without_a_traceback(tmp_path: Path) -> None:
    """Run the command in a process of its own, as a user does."""
    arguments = ["validate", str(JOBS / "demo.yaml"), "--set", "train.epochs=0", "--set", "tiles.sise=3"]
    command = [sys.executable, "-m", "raypipe", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "2 errors" in done.stderr
    assert "tiles.sise: no such setting; did you mean 'size'" in done.stderr
    assert "Traceback" not in done.stderr


def test_faults_elsewhere_do_not_hide_those_of_the_data(cli: Command) -> None:
    done = cli("validate", str(JOBS / "paper.yaml"), "--set", "train.epochs=0")
    assert done.code == 2
    assert "2 errors" in done.err
    assert "train.epochs = 0" in done.err
    assert "LC25000.zip: not found" in done.err


def test_missing_data_is_an_error_before_anything_starts(cli: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.init", lambda *_, **__: pytest.fail("Ray starts"))
    done = cli("run", str(JOBS / "paper.yaml"))
    assert done.code == 2
    assert "LC25000.zip" in done.err
    assert "not found" in done.err
    assert "Traceback" not in done.err


def test_an_unknown_run_is_answered_with_those_there_are(cli: Command) -> None:
    done = cli("results", "demo")
    assert done.code == 2
    assert "no finished run 'demo'" in done.err
    assert "none yet" in done.err


def test_planning_names_every_cell_and_writes_no_artifact(cli: Command, tmp_path: Path) -> None:
    done = cli("plan", str(JOBS / "demo.yaml"), "--storage", "store", "--all")
    assert done.code == 0, done.err
    for cell in ("googlenet/deepfool/train", "resnet18/saliency_map/adversarial_training"):
        assert cell in done.out
    assert not (tmp_path / "store" / "artifacts").exists()


def test_a_plan_fits_a_screen_and_ends_with_its_summary(cli: Command, tmp_path: Path) -> None:
    lines = cli("plan", str(JOBS / "demo.yaml"), "--storage", "store").out.splitlines()
    assert len(lines) <= 40
    assert max(len(line.rstrip()) for line in lines[:-1]) <= 80
    rows = [line.split() for line in lines]
    (attacks,) = (row for row in rows if row[:2] == ["attack", "resnet18"])
    assert attacks[2] == attacks[4] != "0", "all of them are to do"
    valid = cli("validate", str(JOBS / "demo.yaml")).out
    (counted,) = re.findall(r"valid\. (3 models, 3 attacks, .* cells), \d+ files", valid)
    cells = counted.split()[-2]
    assert lines[-1] == f"demo: {counted}, 0 done and {cells} to do in {tmp_path}/store"
    assert int(cells) == sum(int(row[2]) for row in rows if row[-1:] and row[-1].isdigit() and len(row) == 5)


def test_importing_raypipe_starts_and_loads_nothing(tmp_path: Path) -> None:
    code = "import sys, raypipe; print(sorted({'ray', 'torch', 'art'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []


def test_neither_the_commands_nor_the_attacks_load_ray_or_the_toolbox() -> None:
    code = (
        "import sys, raypipe.cli.app, raypipe.attacks.engine.generate; print(sorted({'ray', 'art'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


NEWER = {"format": FORMAT + 1, "raypipe": "9.1"}
REFUSED = (f"has format {FORMAT + 1}, written by raypipe 9.1; this is raypipe {raypipe.__version__}", "choose another")


@pytest.mark.parametrize(
    ("own", "spins"), [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "unset")]
)
def test_idle_threads_sleep_soon_unless_the_user_has_set_how_they_wait(
    own: dict[str, str], spins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    assert "torch" not in run_python("import raypipe.cli.app, sys; print(*sys.modules)").split()
    code = (
        "import os; from raypipe.cli.app import limit_spinning as f; f(); print(os.getenv('GOMP_SPINCOUNT', 'unset'))"
    )
    assert run_python(code) == f"{spins}\n"


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_a_run_of_a_newer_raypipe_is_refused(cli: Command, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "results"))
    hand_run(store)
    store.write_json("runs/hand/run.json", {**store.read_json("runs/hand/run.json"), **NEWER})
    done = cli("results", "hand")
    assert done.code == 1
    assert all(part in done.err for part in ("runs/hand/run.json", *REFUSED))
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "command",
    [["results", "hand"], ["results", "hand", "--recompute"], ["report", "hand"], ["compare", "hand", "x"], ["index"]],
)
def test_every_command_on_runs_refuses_a_newer_format(command: list[str], cli: Command, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    compute_result(store, hand_run(store))
    store.write_json("runs/hand/run.json", {**store.read_json("runs/hand/run.json"), **NEWER})
    before = sorted(tmp_path.rglob("*"))
    done = cli(*command, "--storage", str(tmp_path))
    assert done.code == 1
    assert all(part in done.err for part in REFUSED)
    assert sorted(tmp_path.rglob("*")) == before, "nothing was written"


def test_an_artifact_of_a_newer_raypipe_is_refused_before_work_starts(cli: Command, tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text("{name: tiny, data: {source: synthetic}, models: [resnet18], attacks: [deepfool]}")
    cell = prepare(load_experiment(path, [f"storage={tmp_path}"])).plan.cells[0]
    store = Store.open(str(tmp_path))
    store.write_json(f"{store.artifact(cell.kind, cell.key)}/_manifest.json", NEWER)
    done = cli("plan", str(path), "--storage", str(tmp_path))
    assert done.code == 1
    assert all(part in done.err for part in (f"{cell.kind}/{cell.key}", *REFUSED))


def test_a_damaged_table_is_told_without_a_traceback(cli: Command, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    compute_result(store, hand_run(store))
    store.write_bytes("runs/hand/records.parquet", b"PAR1 cut short")
    done = cli("results", "hand", "--storage", str(tmp_path))
    assert done.code == 1
    assert "records.parquet: cannot be read" in done.err
    assert "compute it again" in done.err


def test_messages_cannot_steer_the_terminal(cli: Command, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "tiles" / name).mkdir(parents=True)
        (tmp_path / "tiles" / name / "\x1b]0;owned\x07\x1b[2J.png").write_bytes(b"x")
    path = tmp_path / "tiny.yaml"
    path.write_text("{name: tiny, data: {source: folder, path: tiles}, models: [resnet18], attacks: [deepfool]}")
    done = cli("validate", str(path))
    assert done.code == 2
    assert r"\x1b]0;owned\x07\x1b[2J.png" in done.err
    assert "\x1b" not in done.err


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_classes_that_no_attacked_tile_covers_are_named_before_anything_runs(
    command: str, cli: Command, tmp_path: Path
) -> None:
    few = ["--set", "evaluation.tiles=3", "--set", f"storage={tmp_path}"]
    done = cli(command, str(JOBS / "demo.yaml"), *few)
    assert "none of the 3 attacked tiles is of the class lung_n, lung_scc" in done.out
    assert "3 attacked tiles are too few for most sanity checks, which pass on at least 18" in done.out
    enough = cli(command, str(JOBS / "demo.yaml"), "--set", "evaluation.tiles=20", *few[2:]).out
    assert "attacked tiles" not in enough
