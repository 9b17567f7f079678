"""The growth of memory and time with the number of tiles, of cells and of runs.

`python -m benchmarks.load --tiles 1000 10000 100000 --out benchmarks/results/load.json`

Whole runs on a local Ray: tiles of 32 pixels pass through ingest, an FGSM attack and predictions; about 500 of them
train the model. They are synthetic tissue. Every tile is drawn separately, or with `--copies` a folder of files repeats
200 of them, because drawing 100,000 tiles takes half an hour of CPU time. Memory is the resident memory of a process
that it does not share (RssAnon + RssFile of Linux, so without Ray's object store), sampled twice a second. Then a plan
of 1,000 cells is listed, and the index page of a store with 1,000 runs is drawn, each in a process of its own. The time
of its imports is reported separately.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import psutil
import yaml
from rich.console import Console
from rich.table import Table

from raypipe.data.reading.png import encode_png
from raypipe.data.tissue import LABELS, render_tile

SIBLINGS, TRAINED = 100, 500
"""Largest number of tiles per source tile, and number of training tiles, which is one source tile per class."""
SAMPLE_SECONDS = 0.5
MIB = 2**20

LISTED = """
import sys, time
begun = time.perf_counter()
from rich.console import Console
from raypipe.experiment.load import load_experiment
from raypipe.plan.listing import prepare
from raypipe.report.plan import tabulate_cells, tabulate_cell_groups
from raypipe.report.fitting_table import render_table
imported, used = time.perf_counter(), time.process_time()
prepared = prepare(load_experiment(sys.argv[1]))
console = Console(width=160)
console.print(render_table(tabulate_cells(prepared.plan, prepared.store)))
console.print(render_table(tabulate_cell_groups(prepared.plan, prepared.store)))
took = [imported - begun, time.perf_counter() - imported, time.process_time() - used]
print(len(prepared.plan.cells), *took)
"""
INDEXED = """
import sys, time
begun = time.perf_counter()
from raypipe.report.page.index import write_index
from raypipe.storage.store import Store
imported, used = time.perf_counter(), time.process_time()
store = Store.open(sys.argv[1])
write_index(store)
took = [imported - begun, time.perf_counter() - imported, time.process_time() - used]
print(len(store.list_directories("runs")), *took)
"""


def sources_of(tiles: int) -> tuple[int, int]:
    """Return the number of source tiles per class, at least two, and the number of tiles from each."""
    siblings = min(SIBLINGS, tiles // (2 * len(LABELS)))
    return tiles // (len(LABELS) * siblings), siblings


def experiment_of(tiles: int, storage: Path, files: Path | None = None) -> dict[str, Any]:
    """Return the settings of an experiment with one small backbone and FGSM on synthetic tiles or on files."""
    sources, siblings = sources_of(tiles)
    experiment: dict[str, Any] = {
        "name": "load",
        "storage": str(storage),
        "data": {
            "source": "synthetic", "size": 32, "siblings": siblings, "sources_per_class": sources,
        },
        "tiles": {"size": 32, "train_fraction": min(0.5, TRAINED / tiles)},
        "models": ["shufflenet_v2_x1_0"],
        "train": {"epochs": 2},
        "attacks": {"fgsm": {"eps": "4/255"}},
        "evaluation": {"curves": {}, "autoattack": None, "checks": None},
        "resources": {"attack_batch": 64},
    }  # fmt: skip
    if files:
        experiment["data"] = {"source": "folder", "path": str(files), "group_pattern": r"^(\w+)-"}
    return experiment


def repeat_tiles(tiles: int, folder: Path) -> Path:
    """Write a folder of `tiles` links to a few drawn tiles; names of tiles of one group share their first part."""
    sources, siblings = sources_of(tiles)
    for label in LABELS:
        (folder / "drawn" / label).mkdir(parents=True)
        for source, sibling in product(range(4), range(10)):
            drawn = folder / "drawn" / label / f"{source}-{sibling}.png"
            drawn.write_bytes(encode_png(render_tile(label, source, sibling, size=32, seed=0)))
        (folder / "files" / label).mkdir(parents=True)
        for source, sibling in product(range(sources), range(siblings)):
            drawn = folder / "drawn" / label / f"{source % 4}-{sibling % 10}.png"
            os.link(drawn, folder / "files" / label / f"{label}{source}-{sibling}.png")
    return folder / "files"


def resident(process: psutil.Process) -> float:
    """Return the MiB of memory that a process does not share."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return sum(int(fields[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile"))


def by_kind(driver: psutil.Process) -> dict[str, float]:
    """Return the memory of the driver, of the largest worker, and of all of Ray's own processes together, in MiB."""
    found: dict[str, float] = defaultdict(float)
    with suppress(OSError, psutil.NoSuchProcess, KeyError):
        found["driver"] = resident(driver)
    for child in driver.children(recursive=True):
        with suppress(OSError, psutil.NoSuchProcess, KeyError):  # the process may end at any moment
            size, title = resident(child), " ".join(child.cmdline())
            if title.startswith("ray::"):
                found["worker"] = max(found["worker"], size)
            else:
                found["Ray"] += size
    return found


def stage_now(storage: Path) -> str:
    """Return the running stage from the driver's state file, or the step before or after the stages."""
    with suppress(OSError, json.JSONDecodeError):
        state = json.loads((storage / "runs" / "load" / "progress.json").read_text())
        running = [stage["name"] for stage in state["stages"] if stage["state"] == "running"]
        done = [stage for stage in state["stages"] if stage["state"] == "done"]
        return running[0] if running else "results" if len(done) == len(state["stages"]) else "plan"
    return "plan"


def run_through(tiles: int, storage: Path, copies: bool) -> dict[str, Any]:
    """Run an experiment, and return the peaks of its memory and the seconds of each stage."""
    file = storage.with_suffix(".yaml")
    files = repeat_tiles(tiles, storage.with_suffix(".source")) if copies else None
    file.write_text(yaml.safe_dump(experiment_of(tiles, storage, files)))
    begun = time.perf_counter()
    with (storage.with_suffix(".log")).open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "raypipe", "run", str(file)], stdout=log, stderr=log)
        driver = psutil.Process(process.pid)
        peaks: dict[str, dict[str, float]] = defaultdict(dict)
        while process.poll() is None:
            stage = peaks[stage_now(storage)]
            for kind, size in by_kind(driver).items():
                stage[kind] = max(stage.get(kind, 0.0), round(size, 1))
            time.sleep(SAMPLE_SECONDS)
    if process.returncode:
        raise SystemExit(storage.with_suffix(".log").read_text())
    state = json.loads((storage / "runs" / "load" / "progress.json").read_text())
    seconds = {stage["name"]: round(stage["seconds"], 1) for stage in state["stages"]}
    took = round(time.perf_counter() - begun, 1)
    return {"tiles": tiles, "copies": copies, "seconds": took, "stages": seconds, "peaks": dict(peaks)}


def timed(code: str, argument: Path) -> dict[str, float]:
    """Run a program in a process of its own, and return the times that it prints."""
    done = subprocess.run([sys.executable, "-c", code, str(argument)], stdout=subprocess.PIPE, text=True, check=True)
    count, imports, seconds, cpu = done.stdout.splitlines()[-1].split()
    return {"count": int(count), "imports": float(imports), "seconds": float(seconds), "cpu": float(cpu)}


def plan_of_a_thousand(folder: Path) -> dict[str, float]:
    """List a plan of about 1,000 cells."""
    attacks = {f"fgsm_{number}": {"name": "fgsm", "eps": f"{number}/255"} for number in range(1, 10)}
    experiment = experiment_of(1000, folder / "planned") | {
        "models": ["resnet18", "googlenet", "shufflenet_v2_x1_0"],
        "attacks": attacks,
        "defenses": ["adversarial_training"],
    }
    file = folder / "planned.yaml"
    file.write_text(yaml.safe_dump(experiment))
    return timed(LISTED, file)


def index_of_a_thousand(run: Path, folder: Path) -> dict[str, float]:
    """Draw the index page of a store with 1,000 copies of one run."""
    for number in range(1000):
        (copy := folder / "indexed" / "runs" / f"run-{number:04d}").mkdir(parents=True)
        for name in run.iterdir():
            if name.suffix in (".parquet", ".json"):
                os.link(name, copy / name.name)
    return timed(INDEXED, folder / "indexed")


def rows_of(record: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each number of tiles."""
    for run in record["runs"]:
        peaks = run["peaks"].values()
        most = [max(peak.get(kind, 0.0) for peak in peaks) for kind in ("driver", "worker", "Ray")]
        yield f"{run['tiles']:,}", f"{run['seconds']:.0f}", *(f"{size:.0f}" for size in most)


def report(record: dict[str, Any], console: Console) -> None:
    """Print the peaks by number of tiles, and the two times."""
    table = Table(title="A whole run by its tiles: peak MiB, without the object store")
    for name in ("tiles", "seconds", "driver", "largest worker", "Ray's own processes"):
        table.add_column(name, justify="right")
    for row in rows_of(record):
        table.add_row(*row)
    console.print(table)
    for what in ("plan", "index"):
        if took := record.get(what):
            seconds, cpu, imports = (f"{took[name]:.2f} s" for name in ("seconds", "cpu", "imports"))
            console.print(f"{what} of {took['count']:,}: {seconds}, {cpu} of CPU, and {imports} of imports")


def main() -> None:
    """Measure, and write the record after every run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--copies", action="store_true", help="files that repeat a few tiles")
    parser.add_argument("--out", type=Path, help="JSON record")
    options = parser.parse_args()
    machine = {"python": platform.python_version(), "cpus": os.cpu_count()}
    record: dict[str, Any] = {"machine": machine, "runs": []}
    folder = Path(tempfile.mkdtemp(prefix="load-"))
    try:
        for tiles in options.tiles:
            storage = folder / f"tiles-{tiles}"
            record["runs"].append(run_through(tiles, storage, options.copies))
            if "index" not in record:
                record["plan"] = plan_of_a_thousand(folder)
                record["index"] = index_of_a_thousand(storage / "runs" / "load", folder)
            if options.out:
                options.out.write_text(json.dumps(record, indent=1) + "\n")
            shutil.rmtree(storage)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report(record, Console())


if __name__ == "__main__":
    main()
