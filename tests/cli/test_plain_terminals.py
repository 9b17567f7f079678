"""Output on terminals that want no color, or can show none: no escape sequences."""

import io
import sys
from pathlib import Path

import pytest

from raypipe.cli.app import main

DEMO = str(Path(__file__).parents[2] / "jobs" / "demo.yaml")
COMMANDS = {
    "list": ["list", "attacks"],
    "describe": ["describe", "pgd"],
    "validate": ["validate", DEMO],
    "errors of a file": ["validate", "wrong.yaml"],
    "unknown run": ["report", "nowhere", "--storage", "empty"],
    "unknown option": ["validate", DEMO, "--nothing"],
    "help": ["evaluate", "--help"],
}
COLORED = {"errors of a file", "unknown run"}


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def show(words: list[str], monkeypatch: pytest.MonkeyPatch, folder: Path, **variables: str) -> str:
    """Return what a command writes on a terminal of 40 columns."""
    monkeypatch.chdir(folder)
    Path("wrong.yaml").write_text("name: t\nmodels: [resnet19]\n")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "40", **variables}.items():
        monkeypatch.setenv(name, value)
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "argv", ["raypipe", *words])
    with pytest.raises(SystemExit):
        main()
    return screen.getvalue()


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_a_plain_terminal_gets_no_escape_sequence(
    name: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown = show(COMMANDS[name], monkeypatch, tmp_path, **variables)
    assert shown.strip()
    assert "\x1b" not in shown


@pytest.mark.parametrize("name", sorted(COLORED))
def test_another_terminal_gets_colors(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "\x1b[" in show(COMMANDS[name], monkeypatch, tmp_path)
