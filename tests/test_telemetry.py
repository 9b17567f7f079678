"""How a run goes: on a terminal, in a log, and in the store for those who watch from elsewhere."""

import io
import time
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from raypipe.cli import app
from raypipe.store import Store
from raypipe.telemetry import run, stage
from raypipe.telemetry.run import run_progress
from raypipe.telemetry.stage import stage_progress
from raypipe.telemetry.state import RunState, StageState, read_state, write_state
from raypipe.telemetry.tree import run_tree


def log(width: int = 100) -> Console:
    return Console(file=io.StringIO(), width=width)


def lines(console: Console) -> list[str]:
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def stages() -> tuple[StageState, ...]:
    return (
        StageState(name="ingest", cells=1, cells_done=1, state="done", seconds=15),
        StageState(name="attack", cells=40, cells_done=2),
        StageState(name="evaluate", cells=7, cells_done=0),
    )


def drawn(state: RunState, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(run_tree(state))
    return console.export_text()


def test_a_log_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "LINE_EVERY_SECONDS", 0.0)
    console = log()
    with stage_progress(console, "attack", 4, "tiles") as progress:
        progress.advance(2, "8.0 images/s, 2 of 2 fooled", cell="resnet18/deepfool/test")
        progress.finish("resnet18/deepfool/test", "resnet18/deepfool/test  2 of 2 fooled")
        progress.advance(2, cell="resnet18/pgd/test")
    said = lines(console)
    assert said[0] == "  attack  4 tiles to do"
    assert said[1] == "  attack  2 of 4 tiles, 0 s, about 0 s left  8.0 images/s, 2 of 2 fooled  resnet18/deepfool/test"
    assert said[2] == "  attack  resnet18/deepfool/test  2 of 2 fooled"
    assert said[-1] == "  attack  4 tiles done in 0 s"
    assert "\x1b" not in "".join(said)


def test_lines_in_passing_are_spaced_out() -> None:
    console = log()
    with stage_progress(console, "attack", 50, "tiles") as progress:
        for _ in range(50):
            progress.advance()
    assert len(lines(console)) == 2


def test_a_terminal_keeps_the_lines_that_stay() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with stage_progress(console, "train", 2, "epochs") as progress:
        progress.advance(1, line="resnet18  epoch 1/2")
        progress.advance(1)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" in text
    assert "resnet18  epoch 1/2" in text
    assert "2 epochs done in" in text


@pytest.mark.parametrize("width", [60, 160])
def test_the_tree_shows_every_stage_and_the_cells_in_work(tmp_path: Path, width: int) -> None:
    store = Store.open(str(tmp_path))
    with run_progress(log(), store, "demo", stages()) as progress, progress.stage("attack", 100, "tiles") as attack:
        for number in range(20):
            attack.advance(1, "8.0 images/s, 15 of 20 fooled", cell=f"resnet18/attack{number}/test")
        attack.finish("resnet18/attack19/test")
        text = drawn(progress.state, width)
    assert [word for word in ("ingest", "attack", "evaluate") if word in text] == ["ingest", "attack", "evaluate"]
    assert "✓ ingest" in text
    assert "3 of 40 cells" in text
    assert "resnet18/attack18/test" in text
    assert "resnet18/attack19/test" not in text, "done"
    assert "resnet18/attack3/test" not in text, "only as many as fit"
    assert "31 more to do" in text
    assert max(map(len, text.splitlines())) <= width
    if width > 100:
        assert "20 of 100 tiles" in text
        assert "left" in text
        assert "8.0 images/s, 15 of 20 fooled" in text


def test_who_watches_from_elsewhere_sees_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "WRITE_EVERY_SECONDS", 0.02)
    store = Store.open(str(tmp_path))
    with run_progress(log(), store, "demo", stages()) as progress, progress.stage("attack", 100, "tiles") as attack:
        attack.advance(7, "fast", cell="a cell")
        seen = wait_for(store, lambda state: state.stages[1].units == 7)
        assert (seen.state, seen.stages[1].state, seen.stages[1].working) == ("running", "running", ["a cell"])
        attack.finish("a cell")
        seen = wait_for(store, lambda state: state.stages[1].cells_done == 3)
    ended = read_state(store, "demo")
    assert (ended.state, ended.stages[1].state, ended.stages[2].state) == ("done", "done", "to do")


def wait_for(store: Store, reached: "object") -> RunState:
    for _ in range(500):
        state = read_state(store, "demo")
        if reached(state):  # type: ignore[operator]
            return state
        time.sleep(0.01)
    raise AssertionError(state)


def test_a_failure_is_written_down_with_its_reason(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    with (
        pytest.raises(ValueError, match="a bad tile"),
        run_progress(log(), store, "demo", stages()) as progress,
        progress.stage("attack", 1, "tiles"),
    ):
        raise ValueError("a bad tile")
    ended = read_state(store, "demo")
    assert (ended.state, ended.error, ended.stages[1].state) == ("failed", "a bad tile", "failed")


def status(store: Path, *arguments: str) -> str:
    return CliRunner().invoke(app, ["status", *arguments, "--storage", str(store)], catch_exceptions=False).output


def test_status_tells_of_a_run_that_goes_on_stopped_or_ended(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    state = RunState(run="demo", stages=list(stages()))
    write_state(store, state)
    assert "attack" in status(tmp_path, "demo")
    assert "No sign of life" not in status(tmp_path, "demo")

    write_state(store, state.model_copy(update={"updated": state.updated - 720}))
    assert "for 12 min" in status(tmp_path, "demo")
    assert "goes on from what is done" in status(tmp_path, "demo", "--watch"), "it does not wait for ever"

    write_state(store, state.model_copy(update={"state": "done"}))
    assert f"Results: {tmp_path}/runs/demo" in status(tmp_path, "demo", "--watch")


def test_status_of_an_unknown_run_names_those_there_are(tmp_path: Path) -> None:
    write_state(Store.open(str(tmp_path)), RunState(run="demo", stages=[]))
    with pytest.raises(FileNotFoundError, match="did you mean 'demo'"):
        status(tmp_path, "demmo")
