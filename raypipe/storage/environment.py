"""What a run was computed with and on: whoever doubts its figures needs it to make them again."""

import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

from pydantic import ValidationError

from raypipe.base.settings import Settings
from raypipe.storage.store import Store, damaged

PACKAGES = ("raypipe", "torch", "torchvision", "ray", "adversarial-robustness-toolbox", "numpy", "scikit-learn")
ENVIRONMENT_FILE = "environment.json"
_CREDENTIALS = re.compile(r"(://)[^/@\s]+@")


class Environment(Settings):
    """Versions, code and hardware.

    Parameters
    ----------
    python, packages
        Versions.
    commit
        Of the checkout that raypipe was imported from, with ``+`` if it was changed; None outside of one.
    system, processor
        Of the driver's machine.
    nodes, cpus, gpus
        Of the Ray cluster.
    accelerators
        Kinds of its GPUs, as Ray names them.
    command
        How the run was started, without credentials.
    """

    python: str
    packages: dict[str, str]
    commit: str | None
    system: str
    processor: str
    nodes: int
    cpus: float
    gpus: float
    accelerators: tuple[str, ...]
    command: str


def describe_environment(nodes: int, resources: dict[str, float]) -> Environment:
    """What this process computes with.

    Parameters
    ----------
    nodes, resources
        Of the Ray cluster, as `ray.nodes` and `ray.cluster_resources` give them.
    """
    prefix = "accelerator_type:"
    return Environment(
        python=platform.python_version(),
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        commit=_commit(Path(__file__).parent),
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(),
        nodes=nodes,
        cpus=resources.get("CPU", 0.0),
        gpus=resources.get("GPU", 0.0),
        accelerators=tuple(sorted(name.removeprefix(prefix) for name in resources if name.startswith(prefix))),
        command=without_credentials(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])),
    )


def read_environment(store: Store, run: str) -> Environment | None:
    """What a run was computed with; None if all of it had been computed by others before."""
    path = f"runs/{run}/{ENVIRONMENT_FILE}"
    if not store.exists(path):
        return None
    try:
        return Environment.model_validate_json(store.read_bytes(path))
    except ValidationError as error:
        raise damaged(store.path(path), error) from error


def write_environment(store: Store, run: str, environment: Environment) -> None:
    """Keep what a run is computed with."""
    store.write_bytes(f"runs/{run}/{ENVIRONMENT_FILE}", environment.model_dump_json(indent=1).encode())


def without_credentials(text: str) -> str:
    """``https://user:secret@host`` -> ``https://***@host``, wherever it stands."""
    return _CREDENTIALS.sub(r"\1***@", text)


def _commit(folder: Path) -> str | None:
    """Outside of a checkout, installed inside of a foreign one, or without git, there is none to tell."""

    def git(*words: str) -> str:
        command = ["git", *words]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def _processor() -> str:
    """Linux tells the model in a file; elsewhere the platform's word for it must do."""
    try:
        told = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        told = None
    return f"{told[1] if told else platform.processor() or platform.machine()}, {os.cpu_count()} cores"
