"""The terminal of a new user: an empty home, no variables but HOME and PATH, and a machine of its own.

The machine is a set of Linux namespaces. Its network has loopback alone, so that Ray's default ports are free. It has
its own process ids, so that `ray stop` ends no other Ray, and empty folders below /tmp. Namespaces need root.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
NAMESPACES = ("unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc")
FOLDERS = ("/tmp/ray", "/tmp/raypipe-prometheus")
"""Folders outside of the home that the documents' commands write to."""
OWN_MACHINE = " && ".join(
    ["ip link set lo up", *(f"mkdir -p {each} && mount -t tmpfs tmpfs {each}" for each in FOLDERS), 'exec "$@"']
)
SHELL = ("bash", "--noprofile", "--norc")


def can_isolate() -> bool:
    """Return True if this user may make namespaces."""
    if not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        return False
    return subprocess.run([*NAMESPACES, "true"], capture_output=True, check=False).returncode == 0


needs_a_machine = pytest.mark.skipif(not can_isolate(), reason="needs namespaces: root, unshare, nsenter and ip")


def pristine_environment(home: Path, commands: Path = BIN) -> dict[str, str]:
    """Return the variables of a user who has just logged in and activated a virtual environment."""
    return {"HOME": str(home), "PATH": f"{commands}:/usr/local/bin:/usr/bin:/bin"}


def shell_lines(document: Path, heading: str = "") -> list[str]:
    """Return the commands of a document's shell blocks without their comments, or only those below one heading."""
    text = document.read_text()
    if heading:
        text = re.split(r"^#+ ", text[text.index(f"{heading}\n") + len(heading) :], maxsplit=1, flags=re.MULTILINE)[0]
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [re.sub(r"\s+# .*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


class Terminal:
    """A shell that stays open, so that a line sees what earlier lines exported and started.

    Parameters
    ----------
    folder
        Working directory of the shell.
    home
        Home of the user.
    beside
        Terminal whose machine this one shares; default: a machine of its own.
    commands
        Folder of the virtual environment's commands.
    """

    def __init__(self, folder: Path, home: Path, beside: "Terminal | None" = None, commands: Path = BIN) -> None:
        where = (
            (*NAMESPACES, "sh", "-c", OWN_MACHINE, "sh")
            if beside is None
            else ("nsenter", "--net", "--pid", "--mount", f"--target={beside.shell_pid()}", f"--wd={folder}")
        )
        self.process = subprocess.Popen(
            [*where, *SHELL], env=pristine_environment(home, commands), cwd=folder, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.run(":")  # the machine exists once its shell answers

    def shell_pid(self) -> int:
        """Return the shell's process id, as seen from outside of its machine."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text().split()[0])

    def run(self, line: str, status: int = 0, timeout: float = 500) -> str:
        """Run a line, and return its output.

        Raises
        ------
        AssertionError
            If the exit status differs from `status`, or the line does not end in time.
        """
        end = f"end-{uuid.uuid4()}"
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\nstatus=$?; echo; echo {end} $status\n")
        self.process.stdin.flush()
        output = []
        watch = threading.Timer(timeout, self.close)
        watch.start()
        try:
            for text in self.process.stdout:
                if text.startswith(end):
                    said = "".join(output)
                    assert int(text.split()[1]) == status, f"{line!r} ended with {text.split()[1]}:\n{said}"
                    return said
                output.append(text)
        finally:
            watch.cancel()
        raise AssertionError(f"{line!r} did not end within {timeout} s:\n{''.join(output)}")

    def close(self) -> None:
        """End the shell. The end of a machine's first shell ends everything on the machine."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def terminal(folder: Path, home: Path, beside: Terminal | None = None, commands: Path = BIN) -> Iterator[Terminal]:
    """Open a terminal while the block runs."""
    opened = Terminal(folder, home, beside, commands)
    try:
        yield opened
    finally:
        opened.close()
