"""The command `raypipe doctor`: its exit status and its output."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from raypipe.execution import machine
from raypipe.execution.machine.finding import Finding
from tests.cli.conftest import Command


def _full() -> Iterator[Finding]:
    yield Finding("disk", "problem", "0.1 GiB free", "free some")


def _fine() -> Iterator[Finding]:
    yield Finding("disk", "ok", "9 GiB free")


@pytest.mark.parametrize(("check", "status"), [(_full, 1), (_fine, 0)])
def test_the_status_says_if_something_fails(
    check: object, status: int, cli: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "CHECKS", (check,))
    done = cli("doctor", "--storage", str(tmp_path / "store"))
    assert done.code == status
    assert ("\u2717 disk" in done.out) == bool(status)
    as_json = cli("doctor", "--json", "--storage", str(tmp_path / "store"))
    assert as_json.code == status
    assert {each["state"] for each in json.loads(as_json.out) if each["check"] == "disk"} >= {
        "problem" if status else "ok"
    }


def test_quiet_prints_only_what_needs_attention(cli: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "CHECKS", (_full, _fine))
    lines = cli("doctor", "--quiet", "--storage", str(tmp_path)).out.splitlines()
    assert [line.split()[:2] for line in lines] == [["\u2717", "disk"]]
    assert "0.1 GiB free; free some" in lines[0]
