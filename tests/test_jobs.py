"""What is submitted to a cluster: the job's entry point against a real head, and the cluster's own description."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from raypipe.evaluation.results import load_result
from raypipe.store import Store

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
TINY: dict[str, Any] = {
    "name": "submitted",
    "data": {"source": "synthetic", "sources_per_class": 2, "siblings": 2, "size": 32},
    "tiles": {"size": 32, "shard_size": 8, "train_fraction": 0.5},
    "models": ["shufflenet_v2_x1_0"],
    "train": {"epochs": 1, "batch_size": 8},
    "attacks": {"deepfool": {"max_iterations": 2}},
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def head(environment: dict[str, str], dashboard: int, temporary: Path) -> Iterator[None]:
    """A Ray head with its dashboard on loopback; `ray stop` would end every Ray on the machine, so it is killed."""
    command = [BIN / "ray", "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1",
               f"--port={free_port()}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
               f"--dashboard-agent-listen-port={free_port()}",  # the default belongs to whatever Ray was there first
               "--disable-usage-stats", f"--temp-dir={temporary}"]  # fmt: skip
    log = (temporary / "head.log").open("w")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None, (temporary / "head.log").read_text()
            assert time.monotonic() < deadline, "the dashboard did not come up"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", dashboard)) == 0:
                    break
            time.sleep(0.5)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
        log.close()


@pytest.mark.cluster
@pytest.mark.xdist_group("ray")
def test_a_submitted_job_runs_the_experiment_and_leaves_its_results(tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "jobs").mkdir(parents=True)
    (work / "jobs" / "run.py").symlink_to(ROOT / "jobs" / "run.py")
    (work / "raypipe").symlink_to(ROOT / "raypipe")
    (work / "jobs" / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        **os.environ,
        "HOME": str(home),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "disabled",
        "RAY_ADDRESS": "",
    }
    environment.pop("RAY_ADDRESS")
    dashboard = free_port()
    short = Path(os.path.realpath("/tmp")) / f"raypipe-{os.getpid()}"  # sockets' paths may have 107 bytes
    short.mkdir()
    command = [BIN / "ray", "job", "submit", f"--address=http://127.0.0.1:{dashboard}", "--working-dir", str(work),
               "--", "python", "jobs/run.py", "jobs/tiny.yaml"]  # fmt: skip
    with head(environment, dashboard, short):
        for _ in range(30):  # the dashboard answers some seconds before the node can take jobs
            submitted = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=400, check=False
            )
            if "No available agent" not in submitted.stdout + submitted.stderr:
                break
            time.sleep(2)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    assert "Table 2" in submitted.stdout
    result = load_result(Store.open(str(home / "raypipe" / "results")), "submitted")
    assert [row["protocol"] for row in result.records.to_pylist()][:2] == ["clean", "white-box"]
    assert result.location in submitted.stdout.replace("\n", "")


def test_cluster_yaml_is_valid_for_the_cluster_launcher() -> None:
    description = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    validate_config(prepare_config(description))


@pytest.mark.parametrize(("section", "value"), [("max_wokers", 3), ("head_node_type", "nobody")])
def test_the_launcher_s_validation_would_notice_a_mistake(section: str, value: object) -> None:
    description = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    with pytest.raises(Exception, match=section.split("_", maxsplit=1)[0]):
        validate_config(prepare_config({**description, section: value}))


def test_the_cluster_s_dashboard_stays_on_loopback_and_no_key_is_written_down() -> None:
    text = (ROOT / "cluster.yaml").read_text()
    assert "--dashboard-host=127.0.0.1" in text
    assert "aws_secret" not in text.lower()
