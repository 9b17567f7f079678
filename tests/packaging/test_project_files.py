"""The files of a project on GitHub, which agree with each other and with the package, and hold no placeholder."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from raypipe.base.version import __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WRITTEN = [
    "CHANGELOG.md", "CITATION.cff", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md",
    ".github/pull_request_template.md", ".github/ISSUE_TEMPLATE/bug.yml", ".github/ISSUE_TEMPLATE/feature.yml",
    ".github/ISSUE_TEMPLATE/config.yml", ".github/workflows/ci.yml", ".pre-commit-config.yaml",
]  # fmt: skip
PLACEHOLDER = re.compile(
    r"\[INSERT|\[yyyy\]|TODO|FIXME|XXX|example\.(com|org)|your[-_ ](name|email|org)", re.IGNORECASE
)


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


@pytest.mark.parametrize("name", WRITTEN)
def test_no_placeholder_is_left(name: str) -> None:
    assert not PLACEHOLDER.findall((ROOT / name).read_text())


@pytest.mark.parametrize("name", [name for name in WRITTEN if name.endswith(".md")])
def test_every_link_to_a_file_leads_to_one(name: str) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / name).read_text())
    missing = [link for link in links if "://" not in link and not (ROOT / name).parent.joinpath(link).exists()]
    assert not missing


def test_the_license_is_the_whole_text_of_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    for section in ("1. Definitions.", "3. Grant of Patent License.", "9. Accepting Warranty", "END OF TERMS AND"):
        assert section in text


def test_every_supported_python_is_tested_by_ci_and_no_other() -> None:
    job = load(".github/workflows/ci.yml")["jobs"]["run"]
    tested = job["strategy"]["matrix"]["python"]
    declared = [line.split(" :: ")[-1] for line in PROJECT["project"]["classifiers"] if re.search(r":: 3\.\d+$", line)]
    assert tested == declared
    assert PROJECT["project"]["requires-python"] == f">={tested[0]}"
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + tested[0].replace(".", "")
    assert PROJECT["tool"]["mypy"]["python_version"] == tested[0]


def test_ci_runs_the_gate_with_the_python_of_its_matrix() -> None:
    job = load(".github/workflows/ci.yml")["jobs"]["run"]
    (gate,) = (step for step in job["steps"] if "run" in step)
    assert gate["run"] == ".ci/run"
    assert gate["env"]["PYTHON"] == "python${{ matrix.python }}"
    assert re.search(r"^PYTHON \?= ", (ROOT / "Makefile").read_text(), re.M), (
        "make must take PYTHON from the environment"
    )


def test_ci_runs_the_oldest_and_the_newest_ray_that_the_project_declares() -> None:
    job = load(".github/workflows/ci.yml")["jobs"]["ray"]
    assert job["strategy"]["matrix"]["ray"] == ["oldest", "newest"]
    (install,) = (step["run"] for step in job["steps"] if "Ray" in step.get("name", ""))
    *names, _, _ = install.splitlines()
    command = "\n".join([*names, 'echo "$oldest $range"'])
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    (declared,) = (each for each in PROJECT["project"]["dependencies"] if each.startswith("ray["))
    oldest, accepted = re.search(r">=([\d.]+),", declared)[1], declared.partition("]")[2]  # type: ignore[index]
    assert done.stdout.split() == [f"=={oldest}.*", accepted]


def test_pre_commit_runs_what_make_lint_runs() -> None:
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    assert recipe
    linted = [line.strip().removeprefix("$(BIN)/").removesuffix(" .") for line in recipe[1].splitlines()]
    (repository,) = load(".pre-commit-config.yaml")["repos"]
    hooks = [hook["entry"].removeprefix(".venv/bin/").removesuffix(" --force-exclude") for hook in repository["hooks"]]
    assert hooks == linted


def test_the_citation_names_this_version_its_license_and_the_paper() -> None:
    citation = load("CITATION.cff")
    assert citation["version"] == __version__
    assert citation["license"] == PROJECT["project"]["license"]
    assert citation["repository-code"] == PROJECT["project"]["urls"]["Repository"]
    assert [author["name"] for author in citation["authors"]] == [who["name"] for who in PROJECT["project"]["authors"]]
    assert citation["references"][0]["title"] in " ".join((ROOT / "README.md").read_text().split())


def test_the_changelog_has_a_section_for_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{__version__}]" in text or ("## [Unreleased]" in text and __version__ in text)
