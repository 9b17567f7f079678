"""A run of another process, in its output and in `raypipe status`: running, stopped, continued and done."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from raypipe.progress.state import RunState, read_state
from raypipe.storage.store import Store

pytestmark = [pytest.mark.cluster, pytest.mark.full]
PATIENCE_SECONDS = 240


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "raypipe", *words]


def status(storage: Path) -> str:
    told = subprocess.run(
        command("status", "tiny", "--storage", str(storage)), capture_output=True, text=True, check=False, timeout=60
    )
    assert told.returncode == 0, told.stderr
    return told.stdout


def wait_until(driver: "subprocess.Popen[str]", store: Store, reached: Callable[[RunState], bool]) -> RunState:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert driver.poll() is None, driver.communicate()[0]
        if store.exists("runs/tiny/progress.json") and reached(state := read_state(store, "tiny")):
            return state
        time.sleep(0.1)
    raise AssertionError("never reached")


def stage(state: RunState, name: str) -> Any:
    return next(stage for stage in state.stages if stage.name == name)


def stop(driver: "subprocess.Popen[str]", number: signal.Signals) -> str:
    """Send a signal to a run alone, as a service manager does, and return the line that it prints."""
    driver.send_signal(number)
    output, _ = driver.communicate(timeout=PATIENCE_SECONDS)
    assert driver.returncode == 128 + number, output
    (line,) = re.findall(r"^Stopped by .*", output, re.MULTILINE)
    return str(line)


def test_a_run_at_work_then_stopped_twice_then_done(tmp_path: Path, tiny_settings: dict[str, Any]) -> None:
    storage, file = tmp_path / "store", tmp_path / "tiny.yaml"
    settings = {
        **tiny_settings, "storage": str(storage), "train": {"epochs": 60, "batch_size": 8},
        "attacks": {"deepfool": {}, "pgd": {"max_iterations": 100, "early_stop": False}}, "defenses": [],
        "resources": {**tiny_settings["resources"], "train_workers": 1},
    }  # fmt: skip
    file.write_text(yaml.safe_dump(settings))
    store = Store.open(str(storage))

    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command("run", str(file)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip

    driver = start()
    seen = wait_until(driver, store, lambda state: stage(state, "train").whole.units > 0)
    os.kill(driver.pid, signal.SIGSTOP)  # keeps it alive until a slow machine has started `raypipe status`
    assert (seen.state, stage(seen, "ingest").state, stage(seen, "evaluate").state) == ("running", "done", "to do")
    text = status(storage)
    assert "✓ ingest" in text
    assert "▶ train" in text
    assert "of 60 epochs" in text
    assert "· evaluate" in text
    assert "Last sign of life" in text

    os.kill(driver.pid, signal.SIGCONT)
    line = stop(driver, signal.SIGTERM)
    assert line == (
        f"Stopped by SIGTERM: 1 of 9 cells are finished and kept in {storage}. Run the same command again to continue: "
        "only what is missing is computed."
    )
    assert read_state(store, "tiny").error == line
    assert "✗ train" in status(storage)

    driver = start()
    wait_until(driver, store, lambda state: stage(state, "attack").state == "running")
    line = stop(driver, signal.SIGINT)
    assert line.startswith("Stopped by SIGINT: ")
    assert int(line.split()[3]) >= 2, "the tiles and the model"
    assert " ".join(line.split()[:7]) in status(storage)

    driver = start()
    output, _ = driver.communicate(timeout=PATIENCE_SECONDS)
    assert driver.returncode == 0, output
    ended = read_state(store, "tiny")
    assert ended.state == "done"
    assert all(stage.state == "done" and stage.whole.done == stage.whole.cells for stage in ended.stages)
    assert stage(ended, "ingest").seconds == 0, "done before"
    text = status(storage)
    assert f"Results: {storage}/runs/tiny" in text
    assert "sign of life" not in text

    said = [line for line in output.splitlines() if line.startswith("  attack  ")]
    assert "tiles to do" in said[0]
    assert "fooled" in said[-1]
    assert not [line for line in said if "deepfool/t" in line and "tiles, " not in line], "no line for each cell"
