"""The options and arguments that several commands share."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raypipe.base.errors import ConfigError
from raypipe.base.places import require_local

if TYPE_CHECKING:  # importing pyarrow takes time that `--help` does not have
    from raypipe.storage.store import Store


def local_path(path: Path | None) -> Path | None:
    """Return the local path of an option with ``~`` expanded. Raise typer.BadParameter for a URI or an unknown home."""
    try:
        return path and require_local(path)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def complete_runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the runs of a local store whose names begin with the typed letters, for the completion of a shell."""
    runs = Path(ctx.params.get("storage") or "results").expanduser() / "runs"
    return sorted(path.name for path in runs.glob(f"{glob.escape(incomplete)}*") if path.is_dir())


ExperimentFile = Annotated[Path, typer.Argument(metavar="FILE", help="Experiment file (YAML).")]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Set a field by its name in an experiment file, such as train.epochs=3 or evaluation.tiles=100.",
    ),
]
Address = Annotated[str | None, typer.Option(help="Address of a Ray cluster; default: RAY_ADDRESS, or a local Ray.")]
STORE = "Store of runs and results: a folder, or a URI such as s3://bucket/path."
Storage = Annotated[str | None, typer.Option(help=STORE)]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.", autocompletion=complete_runs)]
RunStorage = Annotated[str, typer.Option("--storage", help=STORE)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]
BitDepth = Annotated[
    int | None, typer.Option(min=8, max=16, help="Number of bits that 16-bit images use; default: as files state.")
]
All = Annotated[bool, typer.Option("--all", help="Print everything, and not the summary alone.")]


def force(what: str) -> Any:
    """Return the option ``--force``, which replaces existing results; `what` names them in its help text."""
    return typer.Option("--force", help=f"Replace what exists: {what}.")


def folder_to_write(what: str) -> Any:
    """Return the option ``--out`` of a command that writes into a folder."""
    return typer.Option(metavar="FOLDER", help=f"Folder to write to: {what}.", callback=local_path)


def file_to_write(what: str, metavar: str = "FILE") -> Any:
    """Return the option ``--out`` of a command that writes a file."""
    return typer.Option(metavar=metavar, help=f"File to write to: {what}.", callback=local_path)


def names_within(section: str, overrides: Sequence[str]) -> list[str]:
    """Return overrides with names within a section, for a command that has no other; the section may be left out.

    Parameters
    ----------
    section
        Path of the section in an experiment file, such as ``attacks.pgd``.
    """
    return [override.removeprefix(f"{section}.") for override in overrides]


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
