"""The command `raypipe export`."""

import sys
from pathlib import Path

import pytest

from raypipe.cli.app import main
from tests.evaluation.handmade import CLEAN, HARDENED
from tests.export.exporting import stored


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["raypipe", "export", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.usefixtures("without_onnx")
def test_the_command_writes_once_and_refuses_to_overwrite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(tmp_path)
    arguments = ["hand", "--model", HARDENED, "--storage", str(tmp_path / "results"), "--out", str(tmp_path / "out")]
    assert command(monkeypatch, *arguments) == 0
    assert "Exported:" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert command(monkeypatch, *arguments) == 2
    assert "give the name of a new folder" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".tmp")] == []


def test_an_unknown_model_is_answered_with_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stored(tmp_path)
    where = ["--storage", str(tmp_path / "results"), "--out", str(tmp_path / "out")]
    assert command(monkeypatch, "hand", "--model", "net/cw/att", *where) == 2
    said = capsys.readouterr().err
    assert f"expected one of {CLEAN}, {HARDENED}; did you mean '{HARDENED}'" in said
    assert not (tmp_path / "out").exists()
