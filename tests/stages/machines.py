"""A cluster as if of several machines, any of which can be lost, and drivers that can be killed.

The head has no CPU: only drivers run there. Every node has an address and, where root allows, a disk of its own: what
the head and the drivers keep in their folder is an empty folder there, but for the token. All share nothing but the
network, and `Machines.disk`, a mounted disk that can be full.

Every process has the environment that docs/cluster.md gives its reader, and no setting of Ray's for tests.
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
"""The file below HOME that `ray get-auth-token --generate` writes."""


def can_mount() -> bool:
    """Whether this user may have mounts that nobody else sees."""
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        return False
    with tempfile.TemporaryDirectory() as folder:
        command = [*OWN_MOUNTS, "mount", "-t", "tmpfs", "tmpfs", folder]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def user_environment(home: Path) -> dict[str, str]:
    """Return what a user of a token and an object store has in the environment, and nothing else.

    The number of warm workers is what docs/cluster.md advises for a node of one CPU.
    """
    store = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    ray = {"RAY_AUTH_MODE": "token", "RAY_num_workers_soft_limit": str(WARM_WORKERS)}
    return {**pristine_environment(home), **ray, **store}


def wait_until(reached: Callable[[], Any], alive: Callable[[], Any] = lambda: None, every: float = 0.1) -> Any:
    """What `reached` says once it says something; `alive` complains if there is nothing to wait for any more."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := reached()):
        alive()
        assert time.monotonic() < deadline, "never reached"
        time.sleep(every)
    return found


@dataclass(frozen=True)
class Driver:
    """A `raypipe run`."""

    pid: int
    log: Path

    def output(self) -> str:
        return self.log.read_text()

    def runs(self) -> bool:
        return psutil.pid_exists(self.pid)

    def check_runs(self) -> None:
        assert self.runs(), self.output()

    def wait(self) -> int:
        """Its exit status."""
        wait_until(lambda: not self.runs())
        return int(Path(f"{self.log}.exit").read_text())

    def finish(self) -> str:
        """Its output, once it has ended well."""
        assert self.wait() == 0, self.output()
        return self.output()

    def kill_when(self, reached: Callable[[], Any]) -> None:
        """SIGKILL the driver alone: what it started has to notice by itself."""
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
        """Those that attack tiles at the moment."""
        return self.workers("attack")

    def workers(self, stage: str = "") -> list[psutil.Process]:
        """Those that work on shards of a stage, or of any, at the moment."""
        found = []
        for process in self.processes():
            try:
                title = " ".join(process.cmdline())
            except psutil.NoSuchProcess:
                continue
            found += [process] if title.startswith(f"ray::Map({stage}") else []
        return found

    def lose(self) -> None:
        """With SIGKILL, as if its power were cut."""
        for process in [psutil.Process(self.process.pid), *self.processes()]:
            process.kill()
        self.process.wait()

    def sees(self, folder: Path) -> set[str]:
        """The names in a folder, as the node's processes see it."""
        return {path.name for path in Path(f"/proc/{self.process.pid}/root{folder}").iterdir()}


@dataclass
class Machines:
    """The cluster."""

    home: Path
    disk: Path
    mounts: bool
    port: int
    launcher: "subprocess.Popen[str]"
    nodes: list[Node] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: count(2))

    def add(self, nodes: int = 1) -> Node:
        """Nodes join; returns the last."""
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
        """Run an experiment; `name` is for its files here."""
        file, log = self.home / f"{name}.yaml", self.home / f"{name}.log"
        Path(f"{log}.exit").unlink(missing_ok=True)
        file.write_text(yaml.safe_dump(settings))
        assert self.launcher.stdin is not None
        assert self.launcher.stdout is not None
        self.launcher.stdin.write(json.dumps([str(file), str(log)]) + "\n")
        self.launcher.stdin.flush()
        return Driver(int(self.launcher.stdout.readline()), log)

    def seen(self, path: Path) -> Path:
        """A path on the mounted disk, for a process that has not mounted it."""
        return Path(f"/proc/{self.launcher.pid}/root{path}")

    def resize_disk(self, size: str) -> None:
        """Give the mounted disk another size, such as 128m."""
        where = ["nsenter", "--mount", f"--target={self.launcher.pid}"]
        subprocess.run([*where, "mount", "-o", f"remount,size={size}", self.disk], check=True)


@contextmanager
def several_machines() -> Iterator[Machines]:
    """A head, two nodes and a launcher of drivers, until the block ends."""
    short = os.path.realpath("/tmp")  # sockets' paths may have 107 bytes
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
        generate = [BIN / "ray", "get-auth-token", "--generate"]  # needed by the head; the launcher imports meanwhile
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
    """What a run has kept so far, on whatever store."""

    store: Store

    def of(self, kind: str) -> list[str]:
        """The Parquet files of all artifacts of a kind."""
        return [s for key in self.store.list_directories(f"artifacts/{kind}") for s in self.store.shards(kind, key)]

    def manifests(self, kind: str) -> list[dict[str, Any]]:
        """Of the artifacts of a kind that are finished."""
        keys = self.store.list_directories(f"artifacts/{kind}")
        return [manifest for key in keys if (manifest := self.store.manifest(kind, key))]
