"""Signals while a command is being imported, before it can handle them itself."""

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["raypipe"]
CONSOLE_SCRIPT = "from {} import {} as main; main()".format(*SCRIPT.split(":"))
ENTRIES = {
    "the console script": ["-c", CONSOLE_SCRIPT, "--version"],
    "python -m raypipe": ["-m", "raypipe", "--version"],
    "a job": [str(ROOT / "jobs" / "run.py"), "demo.yaml"],
}
SLOW_IMPORT = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.{})
    time.sleep(60)
except BaseException as error:  # as modules do that try one library and then another
    raise ImportError("no such library") from error
"""


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
@pytest.mark.parametrize("entry", ENTRIES)
def test_a_signal_during_imports_ends_in_one_line(entry: str, name: str, status: int, tmp_path: Path) -> None:
    """Stop the command in the midst of its first import of a library."""
    (tmp_path / "typer.py").write_text(SLOW_IMPORT.format(name))
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, *ENTRIES[entry]], cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, check=False,
        capture_output=True, text=True, timeout=120, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.Signals[name], signal.SIG_DFL),  # a shell ignores SIGINT behind an `&`
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (status, "", f"Stopped by {name}.\n")


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """Start a command as `nohup` does, and close its terminal."""
    (tmp_path / "typer.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGHUP)\nprint('goes on')\n")
    done = subprocess.run(
        [sys.executable, "-m", "raypipe"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    assert done.stdout == "goes on\n"
