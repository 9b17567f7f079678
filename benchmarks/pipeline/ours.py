"""The costs that a finished run of raypipe records, beside those observed in its processes."""

import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.pipeline.processes import Watched
from raypipe.plan.cells import STAGES
from raypipe.progress.state import read_state
from raypipe.storage.store import Store

SMALL = 0.01
"""Share of the whole below which a part with an unknown name counts as one of the rest."""
TASKS = {
    "_ingest_shard": "ingest",
    "MapWorker(Map(ShardActor": "attack, diagnose, evaluate",
    "RayTrainWorker": "train",
    "ImplicitFunc": "harden",
    "attack_hardened": "attack hardened",
    "start": "workers between tasks",
    "IDLE": "workers between tasks",
}
"""Names that workers show where Ray names them, and the different ones of earlier versions of this package."""
IMPORTS = (
    "import raypipe.execution.attack, raypipe.execution.evaluate, raypipe.stages.cluster_executor, "
    "raypipe.stages.fitting"
)


def import_seconds() -> float:
    """Return the CPU seconds of a worker's imports."""
    code = f"import time\n{IMPORTS}\nprint(time.process_time())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def stages_of(storage: Path, name: str) -> dict[str, dict[str, float]]:
    """Return worker seconds, passes and cells of each stage, from the run's records of costs."""
    found: dict[str, dict[str, float]] = defaultdict(lambda: {"cells": 0, "seconds": 0.0, "passes": 0})
    for row in pq.read_table(storage / "runs" / name / "costs.parquet").to_pylist():
        stage = found[row["stage"]]
        stage["cells"] += 1
        stage["seconds"] += row["seconds"] or 0.0
        stage["passes"] += (row["forwards"] or 0) + (row["backwards"] or 0)
    return dict(found)


def clock_of(storage: Path, name: str) -> dict[str, float]:
    """Return the elapsed seconds of each stage; as in a plan, attacks on undefended and on hardened models are one."""
    found: dict[str, float] = defaultdict(float)
    for stage in read_state(Store.open(str(storage)), name).stages:
        found[next(each for each in STAGES if stage.name.startswith(each))] += stage.seconds
    return dict(found)


def attacks_of(storage: Path, name: str) -> dict[str, float]:
    """Return the worker seconds of each attack cell."""
    rows = pq.read_table(storage / "runs" / name / "costs.parquet").to_pylist()
    return {row["cell"]: row["seconds"] or 0.0 for row in rows if row["stage"] == "attack"}


def bytes_of(storage: Path) -> int:
    """Return the bytes in a store."""
    return sum(path.stat().st_size for path in storage.rglob("*") if path.is_file())


def parts_of(watched: Watched) -> dict[str, float]:
    """Return all observed CPU seconds of a run by part. A worker's imports are in its first task."""
    parts = {
        "driver: planning, results, report": watched.cpu.get("driver", 0.0),
        "Ray itself": watched.cpu.get("Ray", 0.0),
    }
    least = SMALL * sum(watched.cpu.values())
    for name, seconds in watched.tasks.items():
        part = TASKS.get(name, name if name in STAGES or seconds >= least else "workers: the rest")
        parts[part] = parts.get(part, 0.0) + seconds
    return parts


def run_command(experiment: str, overrides: list[str], storage: Path) -> list[str]:
    """Return the command of ``raypipe run`` on an empty store."""
    options = [word for override in overrides for word in ("--set", override)]
    return [sys.executable, "-m", "raypipe", "run", experiment, *options, "--storage", str(storage)]


def machine() -> dict[str, Any]:
    """Return the description of this machine."""
    import os  # noqa: PLC0415
    import platform  # noqa: PLC0415

    import torch  # noqa: PLC0415

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpus": os.cpu_count(),
        "day": time.strftime("%Y-%m-%d"),
    }
