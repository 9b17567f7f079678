"""The files that `python -m build` and `pip install .` give a user: all that the package reads, and nothing else."""

import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from raypipe.base.version import __version__

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the source distribution and the wheel that is built from it, without a network."""
    built = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return built


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    (wheel,) = distributions.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return message_from_bytes(archive.read(f"raypipe-{__version__}.dist-info/METADATA"))


def package_files() -> set[str]:
    files = (ROOT / "raypipe").rglob("*")
    return {str(file.relative_to(ROOT)) for file in files if file.is_file() and "__pycache__" not in file.parts}


def test_the_wheel_holds_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    metadata = {name for name in names if name.startswith(f"raypipe-{__version__}.dist-info/")}
    assert names - metadata == package_files()
    assert "raypipe/py.typed" in names
    assert f"raypipe-{__version__}.dist-info/licenses/LICENSE" in metadata


def test_the_wheel_holds_the_templates_of_the_report_and_of_the_model_card(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        suffixes = {Path(name).suffix for name in archive.namelist() if "/templates/" in name}
    assert suffixes == {".j2", ".css", ".js"}


def test_the_source_distribution_builds_the_wheel(distributions: Path) -> None:
    with tarfile.open(distributions / f"raypipe-{__version__}.tar.gz") as archive:
        names = set(archive.getnames())
    assert {f"raypipe-{__version__}/{name}" for name in ("LICENSE", "Makefile", "tests/conftest.py")} <= names
    assert not any("/results/runs/" in name or "/.venv/" in name for name in names)


def test_the_metadata_says_who_where_and_under_which_license(metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata["Author"] == "The raypipe authors"
    assert metadata["Requires-Python"] == ">=3.11"
    links = dict(link.split(", ") for link in metadata.get_all("Project-URL", []))
    assert set(links) == {"Repository", "Documentation", "Changelog", "Issues"}


def test_pip_installs_a_command_that_runs(distributions: Path, wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, str(target / "bin" / "raypipe"), "version"],
        cwd=tmp_path, env={"PYTHONPATH": str(target), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert __version__ in done.stdout
