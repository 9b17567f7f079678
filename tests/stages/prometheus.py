"""Debian's Prometheus beside a run: it scrapes with our configuration and answers our dashboard's queries."""

import json
import math
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

PROMETHEUS = shutil.which("prometheus")
DASHBOARDS = Path(__file__).parents[2] / "dashboards"
STEP_SECONDS = 1


def queries() -> dict[str, list[str]]:
    """What each panel of the dashboard asks, for all models."""
    panels = json.loads((DASHBOARDS / "grafana" / "raypipe.json").read_text())["panels"]
    return {
        panel["title"]: [target["expr"].replace("$model", ".*") for target in panel["targets"]]
        for panel in panels
        if panel["type"] != "row"
    }


class Prometheus:
    """A server that scrapes one target."""

    def __init__(self, folder: Path, target: int, port: int) -> None:
        configuration = yaml.safe_load((DASHBOARDS / "prometheus.yml").read_text())
        configuration["global"] = {"scrape_interval": f"{STEP_SECONDS}s"}
        targets = folder / "targets.json"
        targets.write_text(json.dumps([{"targets": [f"127.0.0.1:{target}"]}]))
        configuration["scrape_configs"][0]["file_sd_configs"] = [{"files": [str(targets)]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        self.address = f"http://127.0.0.1:{port}"
        self.begun = time.time()
        self.process = subprocess.Popen(
            [str(PROMETHEUS), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
        )  # fmt: skip

    def series(self, expression: str) -> int:
        """How many series with a number in them a query has had so far."""
        asked = {"query": expression, "start": self.begun, "end": time.time(), "step": STEP_SECONDS}
        with urllib.request.urlopen(
            f"{self.address}/api/v1/query_range?{urllib.parse.urlencode(asked)}", timeout=10
        ) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return sum(any(math.isfinite(float(value)) for _, value in series["values"]) for series in found)


@contextmanager
def prometheus(folder: Path, target: int, port: int) -> Iterator[Prometheus]:
    """A server while the block runs."""
    server = Prometheus(folder, target, port)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(30)
