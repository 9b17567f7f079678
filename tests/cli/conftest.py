"""The command line, called in this process as a user calls it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from raypipe.cli.app import main


@dataclass
class Ended:
    """The output of a command, and its exit status."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs the command line in this process, in an empty folder; tracebacks are exceptions."""

    def call(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["raypipe", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    monkeypatch.chdir(tmp_path)
    return call
