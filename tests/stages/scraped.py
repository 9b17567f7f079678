"""Runs an experiment on a local Ray that exports metrics, and prints what a scrape of it says at the end."""

import io
import json
import re
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from rich.console import Console

from raypipe.config import validate_experiment
from raypipe.experiment import Experiment
from raypipe.listing import prepare
from raypipe.stages.pipeline import run_experiment
from raypipe.store import Store
from tests.stages.prometheus import PROMETHEUS, Prometheus, prometheus, queries

SAMPLE = re.compile(r"^(\w+)\{(.*)\} (\S+)$")
TAG = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
REPORT_MILLISECONDS = 1000
SETTLED_SECONDS = 10


def samples(port: int) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of every sample that a node exports."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if found := SAMPLE.match(line):
                yield found[1], dict(TAG.findall(found[2])), float(found[3])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scrape_run(experiment: Experiment) -> dict[str, Any]:
    """The metrics of a run once it is done, and what its adversarial tiles of one attack say."""
    port = free_port()
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        _metrics_export_port=port,
        _system_config={"metrics_report_interval_ms": REPORT_MILLISECONDS},
    )
    try:
        seen: dict[tuple[str, str], tuple[str, dict[str, str], float]] = {}
        stop = threading.Event()
        watcher = threading.Thread(target=_watch, args=(port, seen, stop))
        watcher.start()
        with tempfile.TemporaryDirectory() as folder, _beside(Path(folder), port) as server:
            run_experiment(experiment, console=Console(file=io.StringIO()))
            time.sleep(SETTLED_SECONDS)
            panels = {title: list(map(server.series, asked)) for title, asked in queries().items()} if server else None
        stop.set()
        watcher.join()
    finally:
        ray.shutdown()
    store = Store.open(experiment.storage)
    return {
        "metrics": list(seen.values()),
        "adversarials": _attacked(store),
        "cells": len(prepare(experiment).plan.cells),
        "panels": panels,
    }


def _beside(folder: Path, target: int) -> AbstractContextManager[Prometheus | None]:
    return prometheus(folder, target, free_port()) if PROMETHEUS else nullcontext()


def _watch(port: int, seen: dict[Any, Any], stop: threading.Event) -> None:
    """The last value of every sample: gauges go when their process does."""
    while not stop.wait(REPORT_MILLISECONDS / 1000):
        for name, tags, value in samples(port):
            if name.startswith("ray_raypipe_"):
                seen[name, str(tags)] = name, tags, value


def _attacked(store: Store) -> dict[str, int]:
    """Sums over all adversarial tiles that DeepFool made."""
    keys = store.list_directories("artifacts/adversarials")
    made = [key for key in keys if (store.manifest("adversarials", key) or {})["spec"]["attack"]["name"] == "deepfool"]
    table = pa.concat_tables(table for key in made for table in store.iter_tables("adversarials", key))
    return {
        "tiles": table.num_rows,
        "attacked": pc.sum(pc.equal(table["clean_prediction"], table["label"])).as_py(),
        "fooled": pc.sum(table["success"]).as_py(),
        "forwards": pc.sum(table["forwards"]).as_py(),
        "backwards": pc.sum(table["backwards"]).as_py(),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(scrape_run(validate_experiment(json.loads(sys.argv[1])))) + "\n")
