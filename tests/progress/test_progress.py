"""The progress of a run on a terminal, in a log, and in the store for those who watch from elsewhere."""

import io
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from raypipe.base.stopping import find_stop
from raypipe.cli.app import app
from raypipe.cli.signals import stop_signals
from raypipe.plan.cells import Cell, EvaluateSpec, IngestSpec, Split, find_unfinished
from raypipe.progress import run, stage
from raypipe.progress.run import run_progress
from raypipe.progress.stage import describe_stage, stage_progress
from raypipe.progress.state import GroupState, RunState, StageState, read_state, write_state
from raypipe.progress.tree import run_tree
from raypipe.storage.store import Store

SPLITS: dict[str, Split] = {"resnet18": "train", "googlenet": "test"}


def log(width: int = 160) -> Console:
    return Console(file=io.StringIO(), width=width)


def lines(console: Console) -> list[str]:
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def cell(name: str) -> Cell:
    return Cell("attack", name, None)


def stages() -> tuple[StageState, ...]:
    return (
        StageState(name="ingest", groups={"tiles": GroupState(cells=1, done=1)}, state="done", seconds=15),
        StageState(
            name="attack", groups={"resnet18": GroupState(cells=38, done=2), "googlenet": GroupState(cells=200)}
        ),
        StageState(name="evaluate", groups={"resnet18": GroupState(cells=7)}),
    )


def drawn(state: RunState, width: int, height: int = 40) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, record=True, force_terminal=True)
    console.print(run_tree(state, height))
    return console.export_text()


def test_a_log_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "LINE_EVERY_SECONDS", 0.0)
    console = log()
    with stage_progress(console, "attack", 4, "tiles") as progress:
        progress.advance(2, cell("resnet18/deepfool/test"), attacked=2, fooled=1, passes=30)
        progress.advance(2, cell("resnet18/pgd/test"), attacked=2, fooled=2, passes=10)
    said = lines(console)
    assert said[0] == "  attack  4 tiles to do"
    assert said[1].startswith("  attack  2 of 4 tiles, 0 s, about 0 s left  ")
    assert "tiles/s  1 of 2 fooled (50%), 15 passes each  resnet18/deepfool/test" in said[1]
    assert said[-1] == "  attack  4 tiles done in 0 s  3 of 4 fooled (75%), 10 passes each"
    assert "\x1b" not in "".join(said)


def test_hundreds_of_cells_are_a_line_for_each_model() -> None:
    console = log()
    state = RunState(run="demo", stages=list(stages()))
    with stage_progress(console, "attack", 2360, "tiles", run=state, detail="verbose") as progress:
        for model, count in (("resnet18", 36), ("googlenet", 200)):
            for number in range(count):
                one = cell(f"{model}/attack{number}/test")
                progress.advance(10, one, attacked=9, fooled=6, passes=90)
                progress.finish(one)
    said = lines(console)
    assert said[0] == "  attack  2360 tiles to do"
    assert said[1] == "  attack  resnet18  38 cells done  216 of 324 fooled (67%), 10 passes each"
    assert said[2] == "  attack  googlenet  200 cells done  1200 of 1800 fooled (67%), 10 passes each"
    assert said[3].startswith("  attack  2360 tiles done in")
    assert len(said) == 4


def test_a_terminal_keeps_the_lines_that_stay() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with stage_progress(console, "train", 2, "epochs", detail="verbose") as progress:
        progress.advance(1, line="resnet18  epoch 1/2")
        progress.advance(1)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" in text
    assert "resnet18  epoch 1/2" in text
    assert "2 epochs done in" in text


@pytest.mark.parametrize("height", [8, 12, 24, 60])
@pytest.mark.parametrize("width", [60, 80, 160])
def test_the_tree_shows_every_stage_and_the_cells_in_work(tmp_path: Path, width: int, height: int) -> None:
    store = Store.open(str(tmp_path))
    with run_progress(log(), store, "demo", stages()) as progress, progress.stage("attack", 100, "tiles") as attack:
        for number in range(20):
            for model in ("resnet18", "googlenet"):
                attack.advance(1, cell(f"{model}/attack{number}/test"), attacked=1, fooled=number % 2)
        attack.finish(cell("resnet18/attack19/test"))
        text = drawn(progress.state, width, height)
    shown = text.splitlines()
    assert [word for word in ("ingest", "attack", "evaluate") if word in text] == ["ingest", "attack", "evaluate"]
    assert "✓ ingest" in text
    assert "3 of 238 cells" in text
    assert "resnet18/attack19/test" not in text, "done"
    assert "resnet18/attack3/test" not in text, "only those touched last"
    assert max(map(len, shown)) <= width
    assert len(shown) <= height
    in_work = [line for line in shown if "/test" in line]
    assert f"{238 - 3 - len(in_work)} more to do" in text
    if height >= 24:
        assert "resnet18/attack18/test" in text
        (head,) = [number for number, line in enumerate(shown) if "resnet18  3 of 38 cells" in line]
        assert "resnet18/attack" in shown[head + 1], "cells stand below their model"
    assert "▶ attack" in text
    assert "40 of 100 tiles" in text
    assert "left" in text
    assert "20 of 40 fooled (50%)" in text


def test_more_stages_than_there_are_lines_are_folded() -> None:
    many = [StageState(name=f"before{number}", state="done") for number in range(9)]
    many += [StageState(name="attack", groups={"resnet18": GroupState(cells=3)}, state="running", total=9)]
    many += [StageState(name=f"after{number}") for number in range(9)]
    shown = drawn(RunState(run="demo", stages=many), 80, height=10).splitlines()
    assert len(shown) <= 10
    assert any("✓ before0, before1" in line for line in shown)
    assert any("▶ attack" in line for line in shown)
    assert any("· after0, after1" in line for line in shown)


def test_cells_that_failed_are_counted() -> None:
    state = RunState(run="demo", stages=list(stages()))
    with suppress(ValueError), stage_progress(log(), "attack", 9, "tiles", run=state) as progress:
        progress.fail(cell("googlenet/pgd/test"))
        raise ValueError("a bad tile")
    assert state.stages[1].state == "failed"
    assert "2 of 238 cells  1 failed" in drawn(state, 100)


def test_what_is_done_of_a_stage_is_what_has_an_artifact(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    tiles = Cell("ingest", "tiles", IngestSpec.model_construct())
    models = [Cell("train", name, EvaluateSpec(split=split), {"tiles": tiles}) for name, split in SPLITS.items()]
    models[0].publish(store)
    told = describe_stage("train", models, find_unfinished(models, store))
    assert (told.state, told.whole.cells, told.whole.done) == ("to do", 2, 1)
    assert {name: group.done for name, group in told.groups.items()} == {"resnet18": 1, "googlenet": 0}
    models[1].publish(store)
    assert describe_stage("train", models, find_unfinished(models, store)).state == "done"


def test_who_watches_from_elsewhere_sees_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "WRITE_EVERY_SECONDS", 0.02)
    store = Store.open(str(tmp_path))
    with run_progress(log(), store, "demo", stages()) as progress, progress.stage("attack", 100, "tiles") as attack:
        attack.advance(7, cell("resnet18/pgd/test"), attacked=6, fooled=5)
        seen = wait_for(store, lambda state: state.stages[1].whole.units == 7)
        assert (seen.state, seen.stages[1].state) == ("running", "running")
        assert seen.stages[1].working == {"resnet18/pgd/test": "resnet18"}
        assert (seen.stages[1].whole.attacked, seen.stages[1].whole.fooled) == (6, 5)
        attack.finish(cell("resnet18/pgd/test"))
        seen = wait_for(store, lambda state: state.stages[1].whole.done == 3)
    ended = read_state(store, "demo")
    assert (ended.state, ended.stages[1].state, ended.stages[2].state) == ("done", "done", "done")
    assert all(stage.whole.done == stage.whole.cells for stage in ended.stages)


def wait_for(store: Store, reached: Callable[[RunState], bool]) -> RunState:
    for _ in range(500):
        state = read_state(store, "demo")
        if reached(state):
            return state
        time.sleep(0.01)
    raise AssertionError(state)


def stopped(error: BaseException, tmp_path: Path) -> tuple[str, str]:
    """Return the texts that a run prints and writes down when an exception stops it."""
    store, console = Store.open(str(tmp_path)), log()
    with suppress(type(error)), run_progress(console, store, "demo", stages()) as progress:
        progress.fail(error)
        early = read_state(store, "demo")
        raise error
    assert early.state == "failed"
    assert read_state(store, "demo").error == early.error
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue(), early.error


@pytest.mark.parametrize(
    ("error", "name"), [(SystemExit(143), "SIGTERM"), (KeyboardInterrupt(), "SIGINT"), (SystemExit(129), "SIGHUP")]
)
def test_a_stopped_run_says_once_what_is_finished_and_how_to_continue(
    error: BaseException, name: str, tmp_path: Path
) -> None:
    printed, written = stopped(error, tmp_path)
    assert written == (
        f"Stopped by {name}: 3 of 246 cells are finished and kept in {tmp_path}. Run the same command again to "
        "continue: only what is missing is computed."
    )
    assert printed == f"{written}\n"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_command_that_is_stopped_before_it_computes_says_so(number: signal.Signals, status: int) -> None:
    console, before = log(), signal.getsignal(number)
    with pytest.raises(SystemExit) as end, stop_signals(console):
        signal.raise_signal(number)
    assert end.value.code == status
    assert lines(console) == [f"Stopped by {number.name} before anything was computed."]
    assert signal.getsignal(number) == before


def test_a_run_under_nohup_survives_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_signals(console := log()):
            signal.raise_signal(signal.SIGHUP)
        assert lines(console) == []
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_signal_is_known_if_ray_replaces_the_exception() -> None:
    replaced = SystemExit(1)
    replaced.__context__ = SystemExit(129)
    assert find_stop(replaced) == signal.SIGHUP


class ClosedTerminal(io.StringIO):
    """A terminal that takes no text once it is closed."""

    ended = False

    def write(self, text: str) -> int:
        if self.ended:
            raise OSError(5, "Input/output error")
        return super().write(text)

    def end(self) -> None:
        self.ended = True
        signal.raise_signal(signal.SIGHUP)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_run_whose_terminal_is_closed_writes_down_how_to_continue(is_terminal: bool, tmp_path: Path) -> None:
    store, terminal = Store.open(str(tmp_path)), ClosedTerminal()
    console = Console(file=terminal, force_terminal=is_terminal)
    with pytest.raises(SystemExit) as end, stop_signals(console), run_progress(console, store, "demo", stages()):
        terminal.end()
    assert end.value.code == 129
    assert read_state(store, "demo").error.startswith("Stopped by SIGHUP: ")


def raise_after_signal() -> None:
    try:
        signal.raise_signal(signal.SIGHUP)
    finally:
        raise OSError(5, "Input/output error")  # of a progress bar, on a terminal that is closed


@pytest.mark.parametrize("other", [SystemExit(1), RuntimeError("the executor was shut down")])
def test_a_signal_is_remembered_if_another_error_takes_the_place_of_its_own(other: BaseException) -> None:
    def replace_error() -> None:
        with suppress(SystemExit):
            signal.raise_signal(signal.SIGHUP)
        raise other

    with pytest.raises(SystemExit) as end, stop_signals(log()):
        replace_error()
    assert end.value.code == 129
    with pytest.raises(RuntimeError), stop_signals(log()):
        raise RuntimeError


def test_an_error_after_a_signal_is_the_end_by_that_signal() -> None:
    with pytest.raises(SystemExit) as end, stop_signals(console := log()):
        raise_after_signal()
    assert end.value.code == 129
    assert lines(console) == ["Stopped by SIGHUP before anything was computed."]
    with pytest.raises(OSError, match="no space"), stop_signals(console):
        raise OSError("no space")


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
    assert "Last sign of life from" in status(tmp_path, "demo")

    write_state(store, state.model_copy(update={"updated": state.updated - 720}))
    assert "for 12 min" in status(tmp_path, "demo")
    assert "Run the same command again to continue" in status(tmp_path, "demo", "--watch"), "it does not wait for ever"

    write_state(store, state.model_copy(update={"state": "done"}))
    assert f"Results: {tmp_path}/runs/demo" in status(tmp_path, "demo", "--watch")


def test_status_of_an_unknown_run_names_those_there_are(tmp_path: Path) -> None:
    write_state(Store.open(str(tmp_path)), RunState(run="demo", stages=[]))
    with pytest.raises(FileNotFoundError, match="did you mean 'demo'"):
        status(tmp_path, "demmo")
