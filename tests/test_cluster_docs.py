"""The commands of docs/cluster.md, which a test runs or which need an account or GPUs."""

import re
import shlex
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package

from raypipe.experiment.load import load_experiment

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "cluster.md"
TEXT = DOCS.read_text()
NEEDS_A_CLOUD_OR_MACHINES = (
    "pip install boto3",
    "aws ",
    "helm ",
    "kubectl ",
    "ray up ",
    "ray down ",
    "ray dashboard ",
    "raypipe plan jobs/paper.yaml --estimate",
)
JOBS = "tests/test_jobs.py"
ELSEWHERE = {
    "export RAY_AUTH_MODE=token": (JOBS, '"## One machine"'),
    "ray get-auth-token --generate": (JOBS, '"## One machine"'),
    "ray start --head": (JOBS, '"## One machine"'),
    "ray job submit": (JOBS, '"## Stop and continue a job"'),
    "ray job submit --runtime-env": (JOBS, '"## What a job brings along"'),
    "ray job logs": (JOBS, '"## Stop and continue a job"'),
    "ray job stop": (JOBS, '"## Stop and continue a job"'),
    "raypipe status": (JOBS, '"## Stop and continue a job"'),
    "raypipe report": ("tests/test_readme.py", '"report"'),
    "git archive": ("tests/test_cluster_docs.py", '"git archive "'),
}
"""Commands that another test runs, and the place of each."""


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.S)
    return [line.strip() for block in blocks for line in block.splitlines()]


def run(*words: str) -> str:
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True).stdout


def test_every_command_is_run_somewhere_or_needs_what_no_test_has() -> None:
    for command in commands():
        places = [place for start, place in ELSEWHERE.items() if command.startswith(start)]
        assert places or command.startswith(NEEDS_A_CLOUD_OR_MACHINES), f"nothing runs {command!r}"
    for start, (place, words) in ELSEWHERE.items():
        assert any(command.startswith(start) for command in commands()), f"{start} is not told any more"
        assert words in re.sub(r"\s+", " ", (ROOT / place).read_text()), f"{place} does not run {start!r}"


@pytest.mark.parametrize("command", [command for command in commands() if " -- python " in command])
def test_what_is_submitted_is_an_experiment_that_can_be_read(command: str) -> None:
    _, script, file, *options = shlex.split(command.split(" -- ")[1])
    assert (ROOT / script).is_file()
    pairs = list(zip(options[::2], options[1::2], strict=True))
    assert {option for option, _ in pairs} <= {"--set", "--storage"}
    load_experiment(ROOT / file, [value for option, value in pairs if option == "--set"])


def test_the_archive_for_kubernetes_has_what_the_job_needs_in_one_folder(tmp_path: Path) -> None:
    (command,) = (command for command in commands() if command.startswith("git archive "))
    run(*shlex.split(command.replace("--output=", f"--output={tmp_path}/")))
    with zipfile.ZipFile(tmp_path / "raypipe.zip") as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"raypipe"}, "Ray takes away one folder"
    needed = ("jobs/run.py", "jobs/paper.yaml", "pyproject.toml", "constraints.txt", "raypipe/cli/app.py")
    assert {f"raypipe/{name}" for name in needed} <= set(names)


def test_little_is_uploaded_with_a_job(tmp_path: Path) -> None:
    excludes = yaml.safe_load((ROOT / "jobs" / "runtime_env.yaml").read_text())["excludes"]
    always = get_runtime_env_default_excludes()
    create_package(str(ROOT), tmp_path / "all.zip", include_gitignore=True, excludes=always)
    create_package(str(ROOT), tmp_path / "some.zip", include_gitignore=True, excludes=[*always, *excludes])
    for name in ("all", "some"):
        assert (tmp_path / f"{name}.zip").stat().st_size < 20 * 2**20
    with zipfile.ZipFile(tmp_path / "some.zip") as archive:
        names = archive.namelist()
    assert {"jobs/run.py", "jobs/paper.yaml", "pyproject.toml", "raypipe/data/sources/folder.py"} <= set(names), (
        "code is code"
    )
    assert not [name for name in names if name.startswith(("tests/", "results/", ".git/"))]


@pytest.mark.parametrize("place", sorted(set(re.findall(r"\]\((?!http)([^)]+)\)", TEXT))))
def test_links_lead_somewhere(place: str) -> None:
    file, _, anchor = place.partition("#")
    assert (DOCS.parent / file).exists()
    headings = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^## (.+)", TEXT, re.M)
    }
    assert not anchor or anchor in headings
