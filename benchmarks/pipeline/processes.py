"""A command's whole tree of processes, observed from outside: its CPU time, and the processes that used it."""

import subprocess
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SAMPLE_SECONDS = 0.25
"""Interval between samples. The CPU time of a process after its last sample is lost."""
RAYS_ACTORS = (
    "DashboardAgent",
    "RuntimeEnvAgent",
    "TrainController",
    "DatasetManager",
    "PreemptionWatcher",
    "PlacementGroupCleaner",
    "_AutoscalingCoordinatorActor",
    "_StatsActor",
)
"""Actors that Ray itself runs in worker processes."""


@dataclass
class Watched:
    """The observed cost of a command.

    Parameters
    ----------
    status
        Exit status of the command.
    wall
        Elapsed seconds.
    cpu
        CPU seconds by role: ``driver``, ``Ray``, ``workers``.
    tasks
        CPU seconds of the workers, by the name that they showed at the time.
    with_torch
        Number of processes that loaded PyTorch.
    """

    status: int = 0
    wall: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
    tasks: dict[str, float] = field(default_factory=dict)
    with_torch: int = 0


def watch(command: Sequence[str], log: Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> Watched:
    """Run a command to its end, with its output in `log`."""
    begun = time.perf_counter()
    last: dict[int, float] = {}
    cpu: dict[str, float] = defaultdict(float)
    tasks: dict[str, float] = defaultdict(float)
    torch: set[int] = set()
    with log.open("wb") as output:
        driver = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=env, cwd=cwd)
        root = psutil.Process(driver.pid)
        while driver.poll() is None:
            with suppress(psutil.NoSuchProcess):
                for process in [root, *root.children(recursive=True)]:
                    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess, PermissionError):
                        _sample(process, driver.pid, last, cpu, tasks, torch)
            time.sleep(SAMPLE_SECONDS)
    return Watched(driver.returncode, time.perf_counter() - begun, dict(cpu), dict(tasks), len(torch))


def _sample(
    process: psutil.Process,
    driver: int,
    last: dict[int, float],
    cpu: dict[str, float],
    tasks: dict[str, float],
    torch: set[int],
) -> None:
    times, title = process.cpu_times(), " ".join(process.cmdline()).strip()
    if not title:  # the process is ending
        return
    used = times.user + times.system
    spent, last[process.pid] = used - last.get(process.pid, 0.0), used
    role, name = ("driver", "") if process.pid == driver else role_of(title)
    cpu[role] += spent
    if role == "workers":
        tasks[name] += spent
    if process.pid not in torch and "libtorch_cpu" in Path(f"/proc/{process.pid}/maps").read_text():
        torch.add(process.pid)


def role_of(title: str) -> tuple[str, str]:
    """Return the role of a process below the driver, Ray or worker, and a worker's task, by its command line."""
    if title.startswith("ray::"):
        name = title.removeprefix("ray::").removeprefix("Map(").split(")")[0].split(".")[0]
        return ("Ray", "") if name in RAYS_ACTORS else ("workers", name)
    program, *arguments = title.split()
    starts = Path(program).name.startswith("python") and any(word.endswith("default_worker.py") for word in arguments)
    return ("workers", "start") if starts else ("Ray", "")
