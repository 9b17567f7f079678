"""A command whose terminal is closed while it works."""

import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from raypipe.progress.state import RunState, read_state
from raypipe.storage.store import Store
from tests.data.layouts import png, write

PATIENCE_SECONDS = 300
SLOW = ("--set", "attacks.pgd.max_iterations=100000", "--set", "attacks.pgd.early_stop=false")


class PseudoTerminal:
    """A command in a terminal of its own, which a test types into and closes."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.screen, inside = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "raypipe", *words], cwd=folder, stdin=inside, stdout=inside, stderr=inside,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
        )  # fmt: skip
        os.close(inside)
        self.text = ""

    def read(self) -> None:
        """Take in what is on the screen, so that the command does not wait for room."""
        while select.select([self.screen], [], [], 0.1)[0]:
            try:
                self.text += os.read(self.screen, 65536).decode()
            except OSError:  # the command has ended
                return

    def wait_for(self, reached: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not reached():
            self.read()
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text

    def end(self) -> int:
        """Return the exit status of the command, which has been stopped."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None:
            with suppress(ValueError, OSError):  # the screen may be closed
                self.read()
            assert time.monotonic() < deadline, self.text
        with suppress(ValueError, OSError):
            self.read()
        return self.process.returncode


def in_stage(folder: Path, name: str) -> bool:
    store = Store.open(str(folder / "out"))
    if not store.exists("runs/model.pt2/progress.json"):
        return False
    state: RunState = read_state(store, "model.pt2")
    return any(stage.name == name and stage.state == "running" for stage in state.stages)


def test_an_evaluation_whose_terminal_is_closed_writes_down_how_to_continue(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    batch = torch.export.Dim("batch")
    program = torch.export.export(network.eval(), (torch.rand(2, 3, 8, 8),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "model.pt2")
    tiles = write(tmp_path, {f"{name}/{n}.png": png(20 * n) for name in "ab" for n in range(6)}, as_zip=False)
    options = ("--labels", "a,b", "--size", "8", "--out", "out", "--attacks", "pgd", *SLOW)
    terminal = PseudoTerminal(tmp_path, "evaluate", "model.pt2", tiles, *options)
    terminal.wait_for(lambda: in_stage(tmp_path, "attack"))
    assert "attack" in terminal.text, "the terminal shows the progress"
    os.close(terminal.screen)
    assert terminal.end() == 129
    error = read_state(Store.open(str(tmp_path / "out")), "model.pt2").error
    assert error.startswith("Stopped by SIGHUP: 2 of ")
    assert error.endswith("Run the same command again to continue: only what is missing is computed.")
