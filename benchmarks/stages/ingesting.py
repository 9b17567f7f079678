"""The ingest stage beside Pillow, on one core and on two."""

import io
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image
from rich.console import Console

from benchmarks.stages.training import timed
from raypipe.data.reading.images import decode
from raypipe.data.reading.png import encode_png
from raypipe.execution.ingest import ingest
from raypipe.experiment.schema import Resources
from raypipe.plan.listing import Prepared
from raypipe.progress.stage import stage_progress
from raypipe.stages.cluster_executor import ClusterExecutor

INGESTED = 224
PASSES = 5
"""Number of passes over the large JPEGs by each of two simultaneous processes, so that both work most of the time."""


def by_pillow(data: bytes) -> np.ndarray:
    """Decode and resize an image in the simplest way, and keep it."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB").resize((INGESTED, INGESTED), Image.Resampling.BILINEAR))


def by_us(data: bytes) -> bytes:
    """Decode, resize and encode a file as the stage does."""
    return encode_png(decode(data, INGESTED, scaled=True))


def measure_decoding(large: Path) -> dict[str, float]:
    """Return the milliseconds per image of both ways, and the difference of their pixels."""
    files = [path.read_bytes() for path in sorted(large.rglob("*.jp*g"))]
    plain = [by_pillow(data) for data in files]
    ours = [decode(data, INGESTED, scaled=True) for data in files]
    apart = np.abs(np.stack(plain).astype(int) - np.stack(ours).astype(int))
    return {
        "pillow": 1000 * timed(lambda: [by_pillow(data) for data in files]) / len(files),
        "ours": 1000 * timed(lambda: [decode(data, INGESTED, scaled=True) for data in files]) / len(files),
        "ours, encoded": 1000 * timed(lambda: [by_us(data) for data in files]) / len(files),
        "mean difference of 255": float(apart.mean()),
        "99th percentile of 255": float(np.percentile(apart, 99)),
    }


def bare_decoding(large: str) -> None:
    """Print the milliseconds per image to decode and encode in a loop that does nothing else."""
    torch.set_num_threads(1)
    files = [path.read_bytes() for path in sorted(Path(large).rglob("*.jp*g"))] * PASSES
    by_us(files[0])  # does the imports before the timing
    print(1000 * timed(lambda: [by_us(data) for data in files]) / len(files))


def run_bare_decoding(large: Path, processes: int) -> float:
    """Return the mean of `bare_decoding` over simultaneous processes, each with all images, divided by their number."""
    command = [sys.executable, "-m", "benchmarks.stages", "--bare-decoding", str(large)]
    at_work = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return statistics.mean(float(process.communicate()[0]) for process in at_work) / processes


def copies_of(large: Path, folder: Path, count: int) -> None:
    """Make a data set of `count` files of large JPEGs; repeated ones are links."""
    files = sorted(large.rglob("*.jp*g"))
    for number in range(count):
        file = files[number % len(files)]
        place = folder / file.parent.name / f"{number}.jpeg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(file.resolve())


def run_ingest(prepared: Prepared, workers: int, console: Console) -> float:
    """Return the seconds of the stage."""
    (cell,), listing = prepared.plan.stage("ingest"), prepared.listings[0]
    prepared.store.remove(prepared.store.artifact(cell.kind, cell.key))
    begun = time.perf_counter()
    with stage_progress(console, "ingest", len(listing.items), "files") as progress:
        size = (os.cpu_count() or 1) // workers  # the CPUs of a worker, so that no more workers fit
        executor = ClusterExecutor(prepared.store, Resources(cpus_per_worker=size))
        ingest(cell, listing.source, listing.items, executor, progress)
    return time.perf_counter() - begun


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keep every thread of this process and its children, Ray and the workers among them, on one core."""

    def move(cores: set[int]) -> None:
        here = psutil.Process()
        for process in [here, *here.children(recursive=True)]:
            for thread in Path(f"/proc/{process.pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), cores)

    cores = os.sched_getaffinity(0)
    move({min(cores)})
    try:
        yield
    finally:
        move(cores)
