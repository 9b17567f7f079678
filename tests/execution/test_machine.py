"""The checks of a machine: each finds what it looks for, and says in one line what to do."""

import importlib.metadata
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from raypipe.execution import machine
from raypipe.execution.machine import hardware, places, software
from raypipe.execution.machine.finding import Finding
from raypipe.storage.errors import StoreError
from raypipe.storage.store import Store

Break = Callable[[pytest.MonkeyPatch, Path], None]


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    assert "\n" not in finding.text + finding.remedy
    return finding


def test_this_machine_has_no_check_that_fails_itself(tmp_path: Path) -> None:
    findings = list(machine.check_machine(str(tmp_path / "store")))
    assert {"Python", "torch", "ray", "memory", "ports", "locale", "storage", "clock"} <= {
        each.check for each in findings
    }
    assert not [each for each in findings if "cannot be checked" in each.text]
    assert all(each.remedy for each in findings if each.state != "ok"), findings
    assert not (tmp_path / "store").exists(), "nothing stays behind"


def _old_ray(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    known = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.1" if name == "ray" else known(name))


def _no_scipy(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    known = importlib.metadata.version

    def version(name: str) -> str:
        if name == "scipy":
            raise importlib.metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def _small_container(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "cpu.max").write_text("50000 100000")
    (folder / "memory.max").write_text(str(2**30))
    (folder / "memory.current").write_text(str(2**29))
    monkeypatch.setattr(hardware, "CGROUP", folder)
    monkeypatch.setattr(hardware.os, "cpu_count", lambda: 8)


def _driver_without_cuda(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(hardware.shutil, "which", lambda name: "/usr/bin/nvidia-smi")


def _no_shared_memory(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(hardware, "SHARED", folder / "shm")


def _long_place(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (long := folder / ("x" * 60)).mkdir()
    monkeypatch.setattr(places.tempfile, "gettempdir", lambda: str(long))


def _no_ascii(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/ä")


def _file_in_the_way(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "t").write_text("no folder")
    monkeypatch.setattr(places, "LONGEST_TEMPORARY", 1000)
    monkeypatch.setenv("RAY_TMPDIR", str(folder / "t" / "ray"))


def _latin(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(software.locale, "getencoding", lambda: "ISO-8859-1")


@pytest.mark.parametrize(
    ("break_it", "check", "name", "state", "text", "remedy"),
    [
        (_old_ray, software.check_packages, "ray", "problem", "2.1, needs", "pip install 'ray"),
        (_no_scipy, software.check_packages, "scipy", "problem", "not installed", "pip install 'scipy"),
        (_small_container, hardware.check_cpus, "CPUs", "note", "the control group allows 0.5", "attack_actors: 1"),
        (_small_container, hardware.check_memory, "memory", "problem", "0.5 GiB free", "free some"),
        (_driver_without_cuda, hardware.check_gpu, "GPU", "problem", "nvidia-smi exists", "install PyTorch"),
        (_no_shared_memory, hardware.check_shared_memory, "", "note", "does not exist", "mount a tmpfs"),
        (_long_place, places.check_temporary, "TMPDIR", "problem", "characters", "at most 40"),
        (_no_ascii, places.check_temporary, "RAY_TMPDIR", "problem", "other than ASCII", "set RAY_TMPDIR"),
        (_file_in_the_way, places.check_temporary, "RAY_TMPDIR", "problem", "cannot be written", "set RAY_TMPDIR"),
        (_latin, software.check_locale, "locale", "note", "locale in ISO-8859-1", "LC_ALL=C.UTF-8"),
    ],
)
def test_what_is_wrong_is_found_with_its_remedy(
    break_it: Break, check: Callable[[], list[Finding]], name: str, state: str, text: str, remedy: str,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    break_it(monkeypatch, tmp_path)
    finding = only([each for each in check() if each.state != "ok"])
    assert name in finding.check
    assert finding.state == state
    assert text in finding.text
    assert remedy in finding.remedy


def test_a_missing_folder_for_temporary_files_is_no_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(places, "LONGEST_TEMPORARY", 1000)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "made" / "by Ray"))
    assert [(finding.check, finding.state) for finding in places.check_temporary()] == [("RAY_TMPDIR", "ok")]


def test_a_port_in_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(places, "PORTS", {taken.getsockname()[1]: "a test"})
        finding = only(list(places.check_ports()))
    assert finding.state == "note"
    assert finding.text.startswith("in use: ")
    assert "(a test)" in finding.text


def test_a_store_that_cannot_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    finding = only(list(places.check_storage(str(tmp_path / "file"))))
    assert finding.state == "problem"
    assert "cannot write" in finding.text
    assert "s3:/oops" in only(list(places.check_storage("s3:/oops"))).text


def test_a_store_that_does_not_replace_files_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "read_bytes", lambda store, path: b"old")
    finding = only(list(places.check_storage(str(tmp_path))))
    assert "a replaced file was read as before" in finding.text
    assert not list(tmp_path.iterdir())


def test_a_check_that_fails_is_a_finding_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def check_odd() -> list[Finding]:
        raise StoreError("odd")

    monkeypatch.setattr(machine, "CHECKS", (check_odd, software.check_python))
    findings = list(machine.check_machine(str(tmp_path)))
    assert (findings[0].check, findings[0].state) == ("odd", "problem")
    assert findings[1].check == "Python"
