"""Software and hardware of a run, which are needed to reproduce its figures."""

import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

from pydantic import ValidationError

from raypipe.base.settings import Settings
from raypipe.storage.bill_of_materials import BILL_FILE, describe_distributions
from raypipe.storage.errors import describe_damage
from raypipe.storage.store import Store

PACKAGES = ("raypipe", "torch", "torchvision", "ray", "adversarial-robustness-toolbox", "numpy", "scikit-learn")
ENVIRONMENT_FILE = "environment.json"
_CREDENTIALS = re.compile(r"(://)[^/@\s]+@")


class Environment(Settings):
    """Versions, code and hardware of a run.

    Parameters
    ----------
    python, packages
        Version of Python, and versions of packages by name.
    commit
        Commit of the checkout that raypipe was imported from, with ``+`` if it has changes. None outside of a checkout.
    system, processor
        Operating system and processor of the driver's machine.
    nodes, cpus, gpus
        Numbers of nodes, CPUs and GPUs of the Ray cluster.
    accelerators
        Kinds of its GPUs, in Ray's names.
    command
        Command that started the run, without credentials.
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
    """Return the environment of this process.

    Parameters
    ----------
    nodes, resources
        Number of nodes and resources of the Ray cluster, from `ray.nodes` and `ray.cluster_resources`.
    """
    prefix = "accelerator_type:"
    return Environment(
        python=platform.python_version(),
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        commit=_commit(Path(__file__).parent),
        system=f"{platform.system()} {platform.release()}",
        processor=_describe_processor(),
        nodes=nodes,
        cpus=resources.get("CPU", 0.0),
        gpus=resources.get("GPU", 0.0),
        accelerators=tuple(sorted(name.removeprefix(prefix) for name in resources if name.startswith(prefix))),
        command=hide_credentials(shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])),
    )


def read_environment(store: Store, run: str) -> Environment | None:
    """Return the environment of a run, or None if the run computed nothing because all its results were cached."""
    path = f"runs/{run}/{ENVIRONMENT_FILE}"
    if not store.exists(path):
        return None
    try:
        return Environment.model_validate_json(store.read_bytes(path))
    except ValidationError as error:
        raise describe_damage(store.path(path), error) from error


def write_environment(store: Store, run: str, environment: Environment) -> None:
    """Store the environment of a run, and beside it the bill of materials of the installed software."""
    store.write_bytes(f"runs/{run}/{BILL_FILE}", json.dumps(describe_distributions(), indent=1).encode())
    store.write_bytes(f"runs/{run}/{ENVIRONMENT_FILE}", environment.model_dump_json(indent=1).encode())


def hide_credentials(text: str) -> str:
    """Replace credentials in addresses: ``https://user:secret@host`` becomes ``https://***@host``."""
    return _CREDENTIALS.sub(r"\1***@", text)


def _commit(folder: Path) -> str | None:
    """Return the commit of the checkout that contains this file.

    It is None outside of a checkout, in an installation inside of another project's checkout, or without git.
    """

    def git(*words: str) -> str:
        command = ["git", *words]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def _describe_processor() -> str:
    """Return the processor's model and the number of its cores.

    Linux gives the model in a file. Elsewhere `platform` gives a name.
    """
    try:
        match = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        match = None
    return f"{match[1] if match else platform.processor() or platform.machine()}, {os.cpu_count()} cores"
