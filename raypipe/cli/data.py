"""The command `raypipe data`: the readable data sets, their locations, and downloads where they are allowed."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from raypipe.base.errors import ConfigError
from raypipe.base.settings import near_matches
from raypipe.cli.terminal import output
from raypipe.data.published import Published, RemoteFile
from raypipe.data.reading.fetching import fetch
from raypipe.data.sources import SOURCES

MANY = 8
"""Number of files that a message names."""

app = typer.Typer(help="List and download data sets.", no_args_is_help=True)


@app.command("list")
def list_data() -> None:
    """List the data sets that an experiment can name, with their licenses."""
    table = Table(title="Data sets: `raypipe data fetch NAME` gets one, or prints its location")
    for column in ("source", "what", "groups", "license", "fetch"):
        table.add_column(column, overflow="fold")
    for name, entry in SOURCES.items():
        about = entry.published
        if about is None:
            table.add_row(name, (entry.settings.__doc__ or "").partition("\n")[0], "", "", "")
        else:
            table.add_row(name, about.title, about.groups, about.license, about.fetched)
    output().print(table)


@app.command("fetch")
def fetch_data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the data set in `raypipe data list`.")],
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder to download to.")] = Path("data"),
    files: Annotated[
        list[str] | None,
        typer.Option("--file", metavar="FILE", help="Name of one file of the data set; can be repeated."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Download all files of the data set.")] = False,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="Confirm that you have read the license and follow it.")
    ] = False,
) -> None:
    """Download a data set, or say where to get it and under which terms. An interrupted download is resumed."""
    about = _published(name)
    console = output()
    console.print(f"{about.title}. License: {about.license}", soft_wrap=True, highlight=False)
    if not about.files:
        console.print(f"It cannot be downloaded by a program. {about.where}", soft_wrap=True, highlight=False)
        return
    chosen = _chosen(name, about, files or [], every)
    if not accept_license and (asking := sorted({str(file.license) for file in chosen if file.asks})):
        raise ConfigError(name, [f"{', '.join(asking)} forbids some uses: read it, then add --accept-license"])
    for file in chosen:
        _fetch(file, to, console)
    console.print(f"{about.where}", soft_wrap=True, highlight=False)
    if about.then:
        console.print(f"Then {about.then}", soft_wrap=True, highlight=False)


def _published(name: str) -> Published:
    known = {each: entry.published for each, entry in SOURCES.items() if entry.published is not None}
    if name not in known:
        raise ConfigError(name, [f"no published data set of this name{near_matches(name, known)}; {', '.join(known)}"])
    return known[name]


def _chosen(name: str, about: Published, names: list[str], every: bool) -> list[RemoteFile]:
    known = {file.name: file for file in about.files}
    if unknown := [each for each in names if each not in known]:
        raise ConfigError(name, [f"no file {each!r}{near_matches(each, known)}" for each in unknown])
    if not (names or every) and len(known) > 1:
        shown = ", ".join([*known][:MANY]) + (f" and {len(known) - MANY} more" if len(known) > MANY else "")
        raise ConfigError(name, [f"it has {len(known)} files: name some with --file, or take --all. {shown}"])
    return [known[each] for each in dict.fromkeys(names)] if names and not every else [*about.files]


def _fetch(file: RemoteFile, to: Path, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(file.name, total=None)
        path, checksum = fetch(file, to, lambda here, size: progress.update(task, completed=here, total=size))
    told = "as published" if file.checksum else "no checksum is published: this one is remembered beside it"
    console.print(Text(f"{path}: {checksum}, {told}"), soft_wrap=True, highlight=False)
