"""A simulated cluster of several machines, any of which can be lost, and drivers that can be killed.

The head has no CPU, so only drivers run there. Every node has an address and, if this user is root, a disk of its own:
on it, the folder of the head and the drivers is empty except for the token. The nodes share only the network, and
`Machines.disk`, a mounted disk that can be full.

Every process has the environment that docs/cluster.md describes, and no Ray setting for tests.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import yaml

from raypipe.stages.cluster import WARM_WORKERS
from raypipe.storage.store import Store
from tests.ray_head import free_port
from tests.terminal import BIN, pristine_environment

PATIENCE_SECONDS = 600
OWN_MOUNTS = ("unshare", "--mount", "--propagation", "private")
DISK_MIB = 64
TOKEN = ".ray/auth_token"
"""File below HOME that `ray get-auth-token --generate` writes."""


def can_mount() -> bool:
    """Return True if this user may have mounts that nobody else sees."""
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        return False
    with tempfile.TemporaryDirectory() as folder:
        command = [*OWN_MOUNTS, "mount", "-t", "tmpfs", "tmpfs", folder]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def user_environment(home: Path) -> dict[str, str]:
    """Return the environment of a user with a token and an object store, and nothing else.

    The number of warm workers is the one that docs/cluster.md advises for a node of one CPU.
    """
    store = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    ray = {"RAY_AUTH_MODE": "token", "RAY_num_workers_soft_limit": str(WARM_WORKERS)}
    return {**pristine_environment(home), **ray, **store}


def wait_until(reached: Callable[[], Any], alive: Callable[[], Any] = lambda: None, every: float = 0.1) -> Any:
    """Return the first true value of `reached`; `alive` raises an error if there is nothing left to wait for."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := reached()):
        alive()
        assert time.monotonic() < deadline, "never reached"
        time.sleep(every)
    return found


@dataclass(frozen=True)
class Driver:
    """A process of `raypipe run`."""

    pid: int
    log: Path

    def output(self) -> str:
        return self.log.read_text()

    def runs(self) -> bool:
        return psutil.pid_exists(self.pid)

    def check_runs(self) -> None:
        assert self.runs(), self.output()

    def wait(self) -> int:
        """Wait for the end, and return the exit status."""
        wait_until(lambda: not self.runs())
        return int(Path(f"{self.log}.exit").read_text())

    def finish(self) -> str:
        """Return the output after a successful end."""
        assert self.wait() == 0, self.output()
        return self.output()

    def kill_when(self, reached: Callable[[], Any]) -> None:
        """Send SIGKILL to the driver alone, so that its children have to notice the loss themselves."""
        wait_until(reached, self.check_runs, every=0.03)
        os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: not self.runs())


@dataclass(frozen=True)
class Node:
    """A machine of the cluster."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def is_up(self) -> bool:
        return "Ray runtime started" in self.log.read_text()

    def check_runs(self) -> None:
        assert self.process.poll() is None, self.log.read_text()

    def processes(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def attackers(self) -> list[psutil.Process]:
        """Return the processes that attack tiles at the moment."""
        return self.workers("attack")

    def workers(self, stage: str = "") -> list[psutil.Process]:
        """Return the processes that work on shards of a stage, or of any stage, at the moment."""
        found = []
        for process in self.processes():
            try:
                title = " ".join(process.cmdline())
            except psutil.NoSuchProcess:
                continue
            found += [process] if title.startswith(f"ray::Map({stage}") else []
        return found

    def lose(self) -> None:
        """Kill the node with SIGKILL, as in a power failure."""
        for process in [psutil.Process(self.process.pid), *self.processes()]:
            process.kill()
        self.process.wait()

    def sees(self, folder: Path) -> set[str]:
        """Return the names in a folder, as the node's processes see it."""
        return {path.name for path in Path(f"/proc/{self.process.pid}/root{folder}").iterdir()}


@dataclass
class Machines:
    """The cluster of simulated machines."""

    home: Path
    disk: Path
    mounts: bool
    port: int
    launcher: "subprocess.Popen[str]"
    nodes: list[Node] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: count(2))

    def add(self, nodes: int = 1) -> Node:
        """Add nodes, and return the last one."""
        for node in [self._begin() for _ in range(nodes)]:
            wait_until(node.is_up, node.check_runs)
            self.nodes.append(node)
        return self.nodes[-1]

    def _begin(self) -> Node:
        number = next(self.numbers)
        start = [BIN / "ray", "start", f"--address=127.0.0.1:{self.port}", f"--node-ip-address=127.0.0.{number}",
                 "--num-cpus=1", "--block", "--disable-usage-stats"]  # fmt: skip
        own_disk: list[Any] = []
        if self.mounts:
            mount = ["sh", "-c", f'mount -t tmpfs tmpfs "$0" && mkdir "$0/.ray" && cat > "$0/{TOKEN}" && exec "$@"']
            own_disk = ["nsenter", "--mount", f"--target={self.launcher.pid}", *OWN_MOUNTS, *mount, self.home]
        log = self.disk.with_name(f"{self.disk.name}-node-{number}.log")
        with log.open("wb") as output, (self.home / TOKEN).open("rb") as token:
            process = subprocess.Popen(
                [*own_disk, *start], env=user_environment(self.home), stdin=token, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        return Node(process, log)

    def lose(self, node: Node) -> None:
        node.lose()
        self.nodes.remove(node)

    def start(self, settings: dict[str, Any], name: str) -> Driver:
        """Run an experiment; `name` names its files here."""
        file, log = self.home / f"{name}.yaml", self.home / f"{name}.log"
        Path(f"{log}.exit").unlink(missing_ok=True)
        file.write_text(yaml.safe_dump(settings))
        assert self.launcher.stdin is not None
        assert self.launcher.stdout is not None
        self.launcher.stdin.write(json.dumps([str(file), str(log)]) + "\n")
        self.launcher.stdin.flush()
        return Driver(int(self.launcher.stdout.readline()), log)

    def seen(self, path: Path) -> Path:
        """Return a path on the mounted disk, for a process that has not mounted it."""
        return Path(f"/proc/{self.launcher.pid}/root{path}")

    def resize_disk(self, size: str) -> None:
        """Resize the mounted disk to a size such as 128m."""
        where = ["nsenter", "--mount", f"--target={self.launcher.pid}"]
        subprocess.run([*where, "mount", "-o", f"remount,size={size}", self.disk], check=True)


@contextmanager
def several_machines() -> Iterator[Machines]:
    """Run a head, two nodes and a launcher of drivers until the block ends."""
    short = os.path.realpath("/tmp")  # the paths of sockets may have 107 bytes
    home, disk = (Path(tempfile.mkdtemp(prefix="rp-", dir=short)) for _ in range(2))
    mounts, port = can_mount(), free_port()
    head = [BIN / "ray", "start", "--head", "--block", "--num-cpus=0", "--node-ip-address=127.0.0.1", f"--port={port}",
            "--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={home}"]  # fmt: skip
    with_disk = [*OWN_MOUNTS, "sh", "-c", f'mount -t tmpfs -o size={DISK_MIB}m tmpfs "$0" && exec "$@"', str(disk)]
    environment = user_environment(home)
    log = disk.with_name(f"{disk.name}-head.log")
    with log.open("wb") as output:
        launcher = subprocess.Popen(
            [*(with_disk if mounts else ()), sys.executable, "-m", "tests.stages.launcher"],
            env={**environment, "RAY_ADDRESS": f"127.0.0.1:{port}"}, cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        generate = [BIN / "ray", "get-auth-token", "--generate"]  # the head needs it; the launcher imports meanwhile
        subprocess.run(generate, env=environment, capture_output=True, check=True)
        ray = Node(subprocess.Popen(head, env=environment, stdout=output, stderr=output, start_new_session=True), log)
        machines = Machines(home, disk, mounts, port, launcher)
        try:
            wait_until(ray.is_up, ray.check_runs)
            assert launcher.stdout is not None
            assert launcher.stdout.readline() == "ready\n"
            machines.add(2)
            yield machines
        finally:
            for node in [*machines.nodes, ray]:
                node.lose()
            launcher.communicate()
            for path in Path(short).glob(f"{disk.name}*.log"):
                path.unlink()
            shutil.rmtree(home, ignore_errors=True)
            shutil.rmtree(disk, ignore_errors=True)


@dataclass(frozen=True)
class Files:
    """The files that a run has stored so far, in any kind of store."""

    store: Store

    def of(self, kind: str) -> list[str]:
        """Return the Parquet files of all artifacts of a kind."""
        return [s for key in self.store.list_directories(f"artifacts/{kind}") for s in self.store.shards(kind, key)]

    def manifests(self, kind: str) -> list[dict[str, Any]]:
        """Return the manifests of the finished artifacts of a kind."""
        keys = self.store.list_directories(f"artifacts/{kind}")
        return [manifest for key in keys if (manifest := self.store.manifest(kind, key))]
