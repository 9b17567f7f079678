"""Checks of the hardware: GPUs, CPUs, memory and the limits that a control group or the system sets."""

import os
import re
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from raypipe.execution.machine.finding import Finding, State, write_size

LEAST_MEMORY, USUAL_MEMORY = 2 * 2**30, 4 * 2**30
"""Memory in bytes without which a local run fails, and with which the demo runs."""
SHARED_SHARE = 0.3
"""Share of the memory that Ray's object store takes, by default, from /dev/shm."""
SHARED = Path("/dev/shm")  # noqa: S108  Ray's place, not a temporary file
FILES = 4096
"""Number of open files that a local Ray with a few workers stays below."""
CGROUP = Path("/sys/fs/cgroup")


def check_gpu() -> Iterator[Finding]:
    """Check that PyTorch can compute on each GPU."""
    driver = shutil.which("nvidia-smi") or shutil.which("rocm-smi")
    if not torch.cuda.is_available():
        text = f"PyTorch {torch.__version__} sees no GPU"
        if driver:
            yield Finding(
                "GPU", "problem", f"{text}, but {driver} exists", "install PyTorch for the driver: pytorch.org"
            )
        else:
            yield Finding("GPU", "note", text, "runs use CPUs, which suits small experiments")
        return
    for number in range(torch.cuda.device_count()):
        name = torch.cuda.get_device_name(number)
        try:
            total = float(torch.ones(8, 8, device=f"cuda:{number}").sum())
            free, memory = torch.cuda.mem_get_info(number)
        except RuntimeError as error:
            text = f"{name}: {str(error).splitlines()[0]}"
            yield Finding(f"GPU {number}", "problem", text, "install PyTorch for this GPU: pytorch.org")
            continue
        text = f"{name}, {write_size(free)} of {write_size(memory)} free"
        state: State = "ok" if total == 64 and free > memory / 2 else "note"
        yield Finding(f"GPU {number}", state, text, "" if state == "ok" else "see in nvidia-smi what else uses it")


def check_cpus() -> Iterator[Finding]:
    """Compare the CPUs that Ray would count with those that this process may use."""
    counted, allowed = os.cpu_count() or 1, len(os.sched_getaffinity(0))
    quota = _read_cpu_quota()
    usable = min(allowed, quota or allowed)
    if usable < counted and usable < 1 + 0.9 * (counted - 1):
        limit = (
            f"the control group allows {quota:g}" if quota and quota < allowed else f"this process may use {allowed}"
        )
        remedy = f"set resources.attack_actors: {max(1, int(usable))}, so that no more processes start than can run"
        yield Finding("CPUs", "note", f"{counted} in the machine, but {limit}", remedy)
    else:
        yield Finding("CPUs", "ok", f"{counted}, load {os.getloadavg()[0]:.1f}")


def check_memory() -> Iterator[Finding]:
    """Check the memory that is free for this process, within its control group."""
    free = _free_memory()
    text = f"{write_size(free)} free"
    if free < LEAST_MEMORY:
        yield Finding("memory", "problem", text, "free some: a local run needs about 2 GB, the demo 4 GB")
    elif free < USUAL_MEMORY:
        yield Finding("memory", "note", text, "enough for small runs; set resources.attack_actors: 1")
    else:
        yield Finding("memory", "ok", text)


def check_shared_memory() -> Iterator[Finding]:
    """Check that /dev/shm holds Ray's object store, which falls back to a slow disk otherwise."""
    name = str(SHARED)
    if not SHARED.is_dir():
        yield Finding(name, "note", "does not exist", "mount a tmpfs there, or Ray keeps objects on a disk")
        return
    free, wanted = shutil.disk_usage(SHARED).free, int(SHARED_SHARE * _free_memory())
    if free < wanted:
        text = f"{write_size(free)} free, Ray takes up to {write_size(wanted)}"
        yield Finding(name, "note", text, "start the container with --shm-size=2g or more, or Ray is slower")
    else:
        yield Finding(name, "ok", f"{write_size(free)} free")


def check_files() -> Iterator[Finding]:
    """Check the limit of open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FILES and soft != resource.RLIM_INFINITY:
        remedy = f"before a run on many cores: ulimit -n {min(hard, 65536) if hard > 0 else 65536}"
        yield Finding("open files", "note", f"at most {soft:,}", remedy)
    else:
        yield Finding("open files", "ok", f"at most {soft:,}")


def _read_cpu_quota() -> float | None:
    """Return the number of CPUs that the control group allows, or None if it sets no limit."""
    try:
        quota, period = (CGROUP / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (CGROUP / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (CGROUP / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    return None if quota in ("max", "-1") else int(quota) / int(period)


def _free_memory() -> float:
    """Return the bytes of memory that this process can still get, within its control group."""
    match = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text())
    available = float(int(match[1]) * 1024) if match else float("inf")
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            return min(available, int((CGROUP / limit).read_text()) - int((CGROUP / used).read_text()))
        except (OSError, ValueError):  # no such control group, or no limit
            continue
    return available
