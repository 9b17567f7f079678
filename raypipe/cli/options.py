"""The options and arguments that several commands share."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raypipe.base.errors import ConfigError

if TYPE_CHECKING:  # importing pyarrow takes time that `--help` does not have
    from raypipe.progress.stage import Detail
    from raypipe.storage.store import Store


def expand_home(path: Path | None) -> Path | None:
    """Return the path of an option with ``~`` expanded. Raise typer.BadParameter if there is no such home."""
    try:
        return path and path.expanduser()
    except RuntimeError as error:
        raise typer.BadParameter(f"{path}: {error}; write the path out") from error


ExperimentFile = Annotated[Path, typer.Argument(metavar="FILE", help="Experiment file (YAML).")]
Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="FIELD=VALUE", help="Set a field of the experiment, such as train.epochs=3."),
]
Address = Annotated[str | None, typer.Option(help="Address of a Ray cluster; default: RAY_ADDRESS, or a local Ray.")]
Storage = Annotated[str | None, typer.Option(help="Folder for results, or a URI such as s3://bucket/path.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.")]
RunStorage = Annotated[str, typer.Option("--storage", help="Store of the run: a folder or a URI.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the folder of results if it exists.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors and the places of the results.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print every epoch, finished model and table.")]


def detail_of(quiet: bool, verbose: bool) -> "Detail":
    """Return the level of detail that the options ask for.

    Raises
    ------
    ConfigError
        If both are given.
    """
    if quiet and verbose:
        raise ConfigError("options", ["--quiet and --verbose: expected at most one of them"])
    return "quiet" if quiet else "verbose" if verbose else "normal"


def require_writable(path: Path) -> None:
    """Require a place for a file, and make its folder, before any work whose results it gets.

    Raises
    ------
    OSError
        If the place is a folder, or cannot be written.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; give the name of a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PermissionError(f"{path.parent}: cannot be made ({error.strerror}); give another place") from error
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f"{path}: cannot be written; give a place that can")


def open_store(storage: str) -> "Store":
    """Open the store of an option.

    Raises
    ------
    ConfigError
        If the location is invalid or contains credentials.
    """
    from raypipe.storage.store import Store

    try:
        return Store.open(storage)
    except ValueError as error:
        raise ConfigError("--storage", [str(error)]) from error
