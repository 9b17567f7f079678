"""The steps of docs/cluster.md and dashboards/README.md to a cluster, typed as printed by a user with an empty home.

One head and one job serve most tests here: the terminal's output, Prometheus's metrics, and the dashboard's pages.
"""

import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import yaml

from raypipe.storage.store import Store
from tests.dashboard_browser import CHROMIUM, DRIVER
from tests.stages.conftest import TINY
from tests.stages.prometheus import PROMETHEUS, Prometheus, queries
from tests.terminal import Terminal, needs_a_machine, shell_lines, terminal

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("launching"), needs_a_machine]
ROOT = Path(__file__).parents[1]
LINES = shell_lines(ROOT / "docs" / "cluster.md", "## One machine")
DASHBOARDS = ROOT / "dashboards" / "README.md"
EPOCHS = 10
"""Number of epochs after which some tiles are classified correctly and are thus attacked."""
DEMO: dict[str, Any] = {
    **TINY,
    "name": "demo",
    "train": {"epochs": EPOCHS, "batch_size": 8},
    "attacks": {"deepfool": {"max_iterations": 20}},
    "defenses": {"adversarial_training": {"epochs": 2}},
    "resources": {**TINY["resources"], "train_workers": 1},
    "storage": "results",
}
SETTLED_SECONDS = 20
"""Seconds to wait: Prometheus asks every 5 s, and rates need some answers."""


@dataclass(frozen=True)
class Launched:
    """A head and a finished job: the user's terminal, and the output of each line."""

    terminal: Terminal
    said: dict[str, str]
    store: Store
    prometheus: Prometheus | None

    @property
    def token(self) -> str:
        return self.said["ray get-auth-token --generate"].strip().splitlines()[-1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkout whose demo takes seconds."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "jobs").mkdir()
    shutil.copy(ROOT / "jobs" / "run.py", folder / "jobs")
    shutil.copytree(ROOT / "dashboards", folder / "dashboards")
    (folder / "jobs" / "demo.yaml").write_text(yaml.safe_dump(DEMO))
    return folder


@pytest.fixture(scope="module")
def launched(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    home = tmp_path_factory.mktemp("home")
    start = shell_lines(DASHBOARDS)[:3]
    head = re.sub(r"^(\w+=\w+ )+", "", start[2])
    assert [start[0], start[1], head] == LINES[:3], "two documents start the same head"
    with terminal(folder, home) as first, terminal(folder, home, beside=first) as second:
        said = {line: first.run(line) for line in start}
        (serve,) = (line for line in shell_lines(DASHBOARDS) if line.startswith("prometheus "))
        server = Prometheus(second, serve) if PROMETHEUS else None
        said |= {line: first.run(line) for line in LINES[3:]}
        yield Launched(first, said, Store.open(str(home / "raypipe" / "results")), server)
        first.run("ray stop")


def test_the_lines_start_a_head_and_run_a_job_on_it(launched: Launched) -> None:
    assert [line.split()[:2] for line in LINES] == [
        ["export", "RAY_AUTH_MODE=token"],
        ["ray", "get-auth-token"],
        ["ray", "start"],
        ["ray", "job"],
        ["raypipe", "status"],
    ]
    job, status = (launched.said[line] for line in LINES[-2:])
    assert "Accuracy in % on " in job
    assert f"Results: {launched.store.root}/runs/demo" in job
    assert "succeeded" in job
    assert "demo" in status


def test_prometheus_scrapes_what_the_records_say(launched: Launched) -> None:
    if launched.prometheus is None:
        pytest.skip("needs prometheus")
    series = launched.prometheus.series
    time.sleep(SETTLED_SECONDS)
    tiles = attacked_tiles(launched.store)
    attack = 'run="demo",stage="attack",model="convnet",attack="deepfool"'

    def total(name: str, labels: str) -> float:
        """Return the sum over all processes that counted, some of which have ended."""
        return sum(max(each) for each in series(f"ray_raypipe_{name}{{{labels}}}"))

    assert total("tiles_total", attack) == tiles["tiles"] > 0
    assert total("tiles_attacked_total", attack) == tiles["attacked"]
    assert total("tiles_fooled_total", attack) == total("distortion_l2_count", attack) == tiles["fooled"] > 0
    assert total("forwards_total", attack) == tiles["forwards"]
    assert total("backwards_total", attack) == tiles["backwards"]
    assert total("shard_seconds_count", 'stage="evaluate"') > 0
    assert total("epochs_total", 'stage="train"') == EPOCHS
    assert total("epochs_total", 'stage="harden"') == 2
    assert 0 < total("training_accuracy", 'stage="train"') <= 1
    assert total("training_loss", 'stage="train"') > 0
    # The gauges of a process vanish with it, as dashboards/README.md says. The last scrape of the driver may be some
    # seconds older than its end. The progress of the run at that scrape depends on the machine's speed.
    latest = {state: sum(each[-1] for each in series(f'ray_raypipe_cells{{state="{state}"}}')) for state in
              ("done", "to do", "failed")}  # fmt: skip
    assert sum(latest.values()) == 11
    assert latest["done"] >= 1
    assert latest["failed"] == 0
    assert [title for title, asked in queries().items() if not all(map(series, asked))] == []


def attacked_tiles(store: Store) -> dict[str, int]:
    """Return sums over all adversarial tiles of DeepFool."""
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


def test_the_dashboard_asks_for_the_token_and_shows_the_job_with_its_stages(launched: Launched) -> None:
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs chromium and chromedriver")
    script = ROOT / "tests" / "dashboard_browser.py"
    said = launched.terminal.run(f"python {script} http://127.0.0.1:8265 {launched.token}")
    pages = json.loads(said.strip().splitlines()[-1])
    assert "ray get-auth-token" in pages["asked"]
    assert "python jobs/run.py jobs/demo.yaml" in pages["jobs"]
    assert "SUCCEEDED" in pages["job"]
    for operator in ("ingest", "attack", "attack_hardened", "evaluate"):
        assert f"Map({operator})" in pages["job"], "an operator for each stage"
    for actor in ("TrainController", "RayTrainWorker"):
        assert actor in pages["job"], "actors of training"
    if launched.prometheus:
        assert {"ray_raypipe_cells", "ray_raypipe_tiles_total"} <= set(pages["metrics"].split())


def test_the_dashboard_answers_nobody_without_the_token(launched: Launched) -> None:
    ask = "curl --silent --output /dev/null --write-out '%{http_code}' http://127.0.0.1:8265/api/jobs/"
    assert launched.terminal.run(ask).strip() == "401"
    assert launched.terminal.run(f"{ask} -H 'Authorization: Bearer {'0' * 64}'").strip() == "403"
    assert launched.terminal.run(f"{ask} -H 'Authorization: Bearer {launched.token}'").strip() == "200"


ADDRESS = "127.0.0.1:6379"
RUN, SCRIPT = (
    f"raypipe run jobs/demo.yaml --address {ADDRESS}",
    f"RAY_ADDRESS={ADDRESS} python jobs/run.py jobs/demo.yaml",
)


@pytest.mark.parametrize(
    ("setting", "command", "reason", "remedy"),
    [
        ("-u RAY_AUTH_MODE", RUN, "requires a token and RAY_AUTH_MODE is not set", "export RAY_AUTH_MODE=token"),
        ("HOME=/nowhere", RUN, "requires a token and this machine has none", "copy ~/.ray/auth_token"),
        ("RAY_AUTH_TOKEN=wrong", RUN, "refused the token from RAY_AUTH_TOKEN", "copy ~/.ray/auth_token"),
        ("RAY_AUTH_TOKEN=wrong", SCRIPT, "refused the token from RAY_AUTH_TOKEN", "copy ~/.ray/auth_token"),
    ],
)
def test_a_missing_or_wrong_token_is_answered_in_one_line(
    launched: Launched, tmp_path: Path, setting: str, command: str, reason: str, remedy: str
) -> None:
    text = launched.terminal.run(f"env {setting} {command} --storage {tmp_path}", status=1)
    assert "Traceback" not in text
    assert re.search(f"^the Ray cluster at {ADDRESS} {reason}.*{remedy}", text, re.MULTILINE), text
    assert not (tmp_path / "artifacts").exists()


def test_without_authentication_a_run_needs_no_token(folder: Path, tmp_path: Path) -> None:
    with terminal(folder, tmp_path) as user:
        user.run("export RAY_AUTH_MODE=disabled")
        user.run(LINES[2])
        text = user.run("raypipe run jobs/demo.yaml --address 127.0.0.1:6379 --set defenses=[] --set train.epochs=1")
        assert "Accuracy in % on " in text
        assert not (tmp_path / ".ray").exists()
