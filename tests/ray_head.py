"""A real Ray head for one test, alone or with an autoscaler whose nodes are processes of this machine."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from raypipe.stages.cluster import WARM_WORKERS
from tests.terminal import BIN, pristine_environment

LISTS = (
    *("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands"),
    *("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter"),
)


@dataclass(frozen=True)
class Head:
    """The address of a head, and the environment of its user."""

    address: str
    dashboard: str
    environment: dict[str, str]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def generate_token(home: Path) -> str:
    """Write a token to a user's home, unless one exists, and return it."""
    command = [BIN / "ray", "get-auth-token", "--generate"]
    done = subprocess.run(command, env=pristine_environment(home), capture_output=True, text=True, check=True)
    return done.stdout


@contextmanager
def ray_head(home: Path, cpus: int = 2, node_types: dict[str, dict[str, int]] | None = None) -> Iterator[Head]:
    """Run a Ray head with its dashboard on loopback, and kill it: `ray stop` would end every Ray on the machine.

    Parameters
    ----------
    node_types
        Resources of the node types that the autoscaler may add, by name; one node of each.
    """
    home.mkdir(exist_ok=True)
    environment = {**pristine_environment(home), "RAY_AUTH_MODE": "token"}
    generate_token(home)
    port, dashboard = free_port(), free_port()
    session = Path(tempfile.mkdtemp(prefix="rp-", dir=os.path.realpath("/tmp")))  # paths of sockets may have 107 bytes
    command = [BIN / "ray", "start", "--head", "--block", f"--num-cpus={cpus}", "--node-ip-address=127.0.0.1",
               f"--port={port}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
               f"--dashboard-agent-listen-port={free_port()}",  # another Ray may hold the default ports
               f"--ray-client-server-port={free_port()}",
               "--disable-usage-stats", f"--temp-dir={session}"]  # fmt: skip
    if node_types:
        (session / "cluster.yaml").write_text(yaml.safe_dump(_autoscaler(f"127.0.0.1:{port}", node_types)))
        command.append(f"--autoscaling-config={session / 'cluster.yaml'}")
        # Ray's provider of nodes that are processes needs these variables. The autoscaler looks every second, not every
        # 5. The number of warm workers is the one that docs/cluster.md advises for a node of one CPU.
        fake = {"RAY_FAKE_CLUSTER": "1", "RAY_OVERRIDE_NODE_ID_FOR_TESTING": "f" * 51 + "00000"}
        warm = {"RAY_num_workers_soft_limit": str(WARM_WORKERS)}
        started = environment | fake | warm | {"AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    else:
        started = environment
    log = (session / "head.log").open("w")
    process = subprocess.Popen(command, env=started, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None, (session / "head.log").read_text()
            assert time.monotonic() < deadline, "the dashboard did not come up"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", dashboard)) == 0:
                    break
            time.sleep(0.5)
        yield Head(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", environment)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # SIGTERM would take most of a minute
        process.wait()
        log.close()
        _end_nodes_of(session)
        shutil.rmtree(session, ignore_errors=True)


def _autoscaler(address: str, node_types: dict[str, dict[str, int]]) -> dict[str, Any]:
    """Return the description that `ray up` leaves on a head, with Ray's own provider of nodes that are processes."""
    head = {"resources": {}, "node_config": {}, "min_workers": 0, "max_workers": 0}
    others = {
        name: {"resources": resources, "node_config": {}, "min_workers": 0, "max_workers": 1}
        for name, resources in node_types.items()
    }
    return {
        "cluster_name": "test",
        "max_workers": len(node_types),
        "idle_timeout_minutes": 0.2,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {"ray.head.default": head, **others},
        **{name: {} for name in ("auth", "docker", "file_mounts")},
        **{name: [] for name in LISTS},
        "file_mounts_sync_continuously": False,
    }


def _end_nodes_of(session: Path) -> None:
    """End the nodes that an autoscaler started; they outlive it, and their session's folder identifies them."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{session}/".encode() in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
