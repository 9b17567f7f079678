"""The progress of a run for Python: a callback, and the bar of a notebook."""

import io
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

import raypipe
from raypipe.progress.callback import Progress, ignore_progress
from raypipe.progress.notebook import NotebookBar, choose_callback, draw_bar, is_notebook
from raypipe.progress.run import run_progress
from raypipe.progress.state import GroupState, StageState
from raypipe.storage.store import Store


def follow(folder: Path, seen: list[Progress]) -> None:
    states = [StageState(name="attack", groups={"net": GroupState(cells=2)})]
    console = Console(file=io.StringIO())
    with (
        run_progress(console, Store.open(str(folder)), "demo", states, callback=seen.append) as progress,
        progress.stage("attack", 8, "tiles") as stage,
    ):
        stage.advance(3)
        progress.say("drawing the report")


def test_a_callback_sees_the_work_and_the_end(tmp_path: Path) -> None:
    seen: list[Progress] = []
    follow(tmp_path, seen)
    assert [(each.stage, each.done) for each in seen][:2] == [("attack", 0), ("attack", 3)]
    assert seen[1] == Progress("demo", "running", "attack", 3, 8, "tiles", 0, 2, seen[1].seconds_left, "")
    assert seen[2].activity == "drawing the report"
    assert (seen[-1].state, seen[-1].fraction, seen[-1].cells_done) == ("done", 1.0, 2)


def test_an_exception_of_the_callback_ends_the_run(tmp_path: Path) -> None:
    seen: list[Progress] = []

    def stop(progress: Progress) -> None:
        seen.append(progress)
        if progress.done:
            raise RuntimeError("enough")

    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2)).eval()
    tiles = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    few = {"autoattack": None, "checks": None, "curves": {}, "to": str(tmp_path / "out")}
    with pytest.raises(RuntimeError, match="enough"):
        raypipe.evaluate(model, tiles, np.arange(4) % 2, ["fgsm"], progress=stop, **few)
    assert seen[-1].state == "failed"
    result = raypipe.evaluate(model, tiles, np.arange(4) % 2, ["fgsm"], progress=seen.append, **few)
    assert seen[-1].state == "done"
    assert raypipe.load(tmp_path / "out").records.equals(result.records)


class Kernel:
    """A notebook's IPython as far as the bar uses it: it shows an element, and replaces it later."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.ipython, self.display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
        shell = type("ZMQInteractiveShell", (), {})
        self.ipython.get_ipython = shell  # type: ignore[attr-defined]
        self.display.HTML = str  # type: ignore[attr-defined]
        self.display.display = self.show  # type: ignore[attr-defined]

    def show(self, text: str, display_id: bool) -> "Kernel":
        assert display_id
        assert not self.shown, "shown once, then updated"
        self.shown.append(text)
        return self

    def update(self, text: str) -> None:
        self.shown.append(text)


def test_a_notebook_has_a_bar_that_ends_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_callback(None) is ignore_progress
    kernel = Kernel()
    monkeypatch.setitem(sys.modules, "IPython", kernel.ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", kernel.display)
    assert is_notebook()
    bar = choose_callback(None)
    assert isinstance(bar, NotebookBar)
    states = [StageState(name="attack", groups={"net": GroupState(cells=2)})]
    with run_progress(Console(quiet=True), Store.open(str(tmp_path)), "demo", states, callback=bar) as progress:
        progress.say("computing the results")
    assert 'value="0.0000"' in kernel.shown[0]
    assert 'value="1.0000"' in kernel.shown[-1]
    assert "2 of 2 cells, done" in kernel.shown[-1]


def test_names_cannot_add_elements_to_the_bar() -> None:
    progress = Progress("<b>run", "running", "attack", 1, 2, "tiles", 0, 1, 90.0, "")
    text = draw_bar(progress)
    assert "&lt;b&gt;run, 0 of 1 cells, attack: 1 of 2 tiles, about 1 min" in text
