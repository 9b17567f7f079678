"""Debian's Prometheus beside a Ray head, started as in dashboards/README.md; it answers our dashboard's queries."""

import json
import math
import shlex
import shutil
import time
import urllib.parse
from pathlib import Path

from tests.terminal import Terminal

PROMETHEUS = shutil.which("prometheus")
DASHBOARDS = Path(__file__).parents[2] / "dashboards"
STEP_SECONDS = 5


def queries() -> dict[str, list[str]]:
    """Return the queries of each panel of the dashboard, for all models."""
    panels = json.loads((DASHBOARDS / "grafana" / "raypipe.json").read_text())["panels"]
    return {
        panel["title"]: [target["expr"].replace("$model", ".*") for target in panel["targets"]]
        for panel in panels
        if panel["type"] != "row"
    }


class Prometheus:
    """A Prometheus server in a terminal of its own.

    Parameters
    ----------
    terminal
        Terminal in which it runs.
    line
        Command that starts it.
    """

    def __init__(self, terminal: Terminal, line: str) -> None:
        self.terminal = terminal
        self.address = line.split("--web.listen-address=")[1].split(maxsplit=1)[0]
        self.begun = time.time()
        terminal.run(f"{line} --log.level=error &")

    def series(self, expression: str) -> list[list[float]]:
        """Return the finite values of each series of a query so far."""
        asked = {"query": expression, "start": self.begun, "end": time.time(), "step": STEP_SECONDS}
        where = f"http://{self.address}/api/v1/query_range?{urllib.parse.urlencode(asked)}"
        answer = json.loads(self.terminal.run(f"curl --silent {shlex.quote(where)}"))
        values = [[float(value) for _, value in each["values"]] for each in answer["data"]["result"]]
        return [finite for each in values if (finite := [value for value in each if math.isfinite(value)])]
