import io

import pytest
from rich.console import Console

from raypipe import telemetry
from raypipe.telemetry import stage_progress


def test_a_log_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "LINE_EVERY_SECONDS", 0.0)
    console = Console(file=io.StringIO(), width=100)
    with stage_progress(console, "attack", 3, "tiles") as progress:
        progress.advance(2, "resnet18/deepfool/test")
        progress.advance(1, line="resnet18/deepfool/test  3 of 3 fooled")
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0] == "  attack  3 tiles to do"
    assert lines[1].startswith("  attack  2 of 3, 0 s  resnet18/deepfool/test")
    assert lines[2] == "  attack  resnet18/deepfool/test  3 of 3 fooled"
    assert lines[-1] == "  attack  3 tiles done in 0 s"
    assert "\x1b" not in "".join(lines)


def test_lines_in_passing_are_spaced_out() -> None:
    console = Console(file=io.StringIO(), width=100)
    with stage_progress(console, "attack", 50, "tiles") as progress:
        for _ in range(50):
            progress.advance()
    assert len(console.file.getvalue().splitlines()) == 2  # type: ignore[attr-defined]


def test_a_terminal_gets_a_bar_and_keeps_the_lines() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with stage_progress(console, "train", 2, "epochs") as progress:
        progress.advance(1, line="resnet18  epoch 1/2")
        progress.advance(1)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" in text
    assert "resnet18  epoch 1/2" in text
    assert "2 epochs done in" in text
