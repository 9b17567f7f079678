"""The command `raypipe data`: the readable data sets, downloads where they are allowed, and the spread of stains."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.text import Text

from raypipe.base.errors import ConfigError
from raypipe.cli.detail import choose_detail, detail, with_detail
from raypipe.cli.errors import errors_of
from raypipe.cli.options import AsJson, folder_to_write
from raypipe.cli.terminal import output, print_json

if TYPE_CHECKING:
    from raypipe.data.published import Published, RemoteFile

MANY = 8
"""Number of files that a message names."""

app = typer.Typer(help="List, download and measure data sets.", no_args_is_help=True)
app.callback()(choose_detail)


@app.command("list")
@with_detail
def list_data(as_json: AsJson = False) -> None:
    """List the data sets that an experiment can name, with their licenses."""
    from raypipe.base.docstrings import read_first_paragraph
    from raypipe.data.sources import SOURCES
    from raypipe.report.fitting_table import render_table
    from raypipe.report.sheet import Sheet

    rows = []
    for name, entry in SOURCES.items():
        about = entry.published
        text = about.title if about else read_first_paragraph(entry.settings)
        fetched, terms = (about.fetched, about.license) if about else ("-", "-")
        rows.append({"name": name, "data": text, "fetch": fetched, "license": terms})
    if as_json:
        print_json(rows)
        return
    console = output()
    if detail() == "quiet":
        for row in rows:
            console.print(row["name"])
        return
    sheet = Sheet("")
    for heading in rows[0]:
        sheet.add_columns(heading, whole=heading == "name")
    for row in rows:
        sheet.add_row(*row.values())
    console.print(render_table(sheet))
    console.print("Download: raypipe data fetch NAME. Settings and place: raypipe describe NAME", highlight=False)


def _refuse_all(given: bool) -> None:
    if given:
        raise typer.BadParameter("--all is --whole here: elsewhere --all prints everything")


@app.command("fetch")
@with_detail
def fetch_data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the data set in `raypipe data list`.")],
    out: Annotated[Path, folder_to_write("one for the downloads")] = Path("data"),
    files: Annotated[
        list[str] | None,
        typer.Option("--file", metavar="FILE", help="Name of one file of the data set; can be repeated."),
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="Download all files of the data set.")] = False,
    _all: Annotated[bool, typer.Option("--all", hidden=True, callback=_refuse_all)] = False,
    accept_license: Annotated[
        bool, typer.Option("--accept-license", help="Confirm that you have read the license and follow it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Download a data set, or say where to get it and under which terms. An interrupted download is resumed."""
    about = _get_published(name)
    console = output(as_json=as_json)
    if not about.files:
        where = f"{about.title}. License: {about.license}. {about.where}"
        raise ConfigError(name, [f"nothing was downloaded, because its publishers let no program do it. {where}"])
    if detail() != "quiet":
        console.print(f"{about.title}. License: {about.license}", soft_wrap=True, highlight=False)
    chosen = _choose_files(name, about, files or [], whole=whole)
    if not accept_license and (asking := sorted({str(file.license) for file in chosen if file.asks})):
        raise ConfigError(name, [f"{', '.join(asking)} forbids some uses: read it, then add --accept-license"])
    fetched = [_fetch(file, out, console) for file in chosen]
    if as_json:
        print_json(fetched)
    if detail() == "quiet":
        return
    console.print(f"{about.where}", soft_wrap=True, highlight=False)
    if about.then:
        console.print(f"Then {about.then}", soft_wrap=True, highlight=False)


@app.command("stains")
@with_detail
def measure_stains(
    data: Annotated[str, typer.Argument(metavar="DATA", help="Folder or zip archive with one folder for each class.")],
    groups: Annotated[
        str | None, typer.Option(metavar="CSV", help="CSV with the columns filename, label and group.")
    ] = None,
    group_pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Regular expression for file names; its first group is the case."),
    ] = None,
    basis: Annotated[str, typer.Option(help="Colors of the stains: hed or macenko.")] = "hed",
    share: Annotated[float, typer.Option(help="Share of the source tiles that each range holds.")] = 0.9,
    as_json: AsJson = False,
) -> None:
    """Measure how much the stains of source tiles differ, and print the ranges as settings of the stain attack."""
    from typing import get_args

    from raypipe.data.audit.audit import open_data
    from raypipe.data.stain_spread import measure_stain_spread
    from raypipe.data.stains import Basis

    if basis not in get_args(Basis):
        raise ConfigError("--basis", [f"{basis!r}: expected one of {', '.join(get_args(Basis))}"])
    if not 0 < share < 1:
        raise ConfigError("--share", [f"{share:g}: expected more than 0 and less than 1"])
    with errors_of("data stains"):
        spread = measure_stain_spread(open_data(data, groups, group_pattern), cast("Basis", basis), share)
    factors = ("hematoxylin_factor", "eosin_factor", "hematoxylin_shift", "eosin_shift")
    ranges = {name: [round(end, 2) for end in getattr(spread, name)] for name in factors}
    if as_json:
        print_json({"tiles": spread.tiles, "groups": spread.groups, "rejected": len(spread.rejected), "share": share,
                    "settings": {"name": "stain", "basis": basis, **ranges}})  # fmt: skip
        return
    console = output()
    shown = f"{spread.tiles} tiles of {spread.groups} source tiles, {len(spread.rejected)} files rejected"
    if detail() != "quiet":
        said = f"{shown}; each range holds {100 * share:g} % of the source tiles:"
        console.print(said, soft_wrap=True, highlight=False)
    settings = [f"name: stain, basis: {basis}"]
    settings += [f"{name}: [{low:.2f}, {high:.2f}]" for name, (low, high) in ranges.items()]
    console.print(f"{{{', '.join(settings)}}}", soft_wrap=True, highlight=False, markup=False)


def _get_published(name: str) -> "Published":
    from raypipe.base.settings import suggest_matches
    from raypipe.data.sources import SOURCES

    known = {each: entry.published for each, entry in SOURCES.items() if entry.published is not None}
    if name not in known:
        raise ConfigError(
            name, [f"no published data set of this name{suggest_matches(name, known)}; {', '.join(known)}"]
        )
    return known[name]


def _choose_files(name: str, about: "Published", names: list[str], *, whole: bool) -> "list[RemoteFile]":
    from raypipe.base.settings import suggest_matches

    known = {file.name: file for file in about.files}
    if unknown := [each for each in names if each not in known]:
        raise ConfigError(name, [f"no file {each!r}{suggest_matches(each, known)}" for each in unknown])
    if not (names or whole) and len(known) > 1:
        shown = ", ".join([*known][:MANY]) + (f" and {len(known) - MANY} more" if len(known) > MANY else "")
        raise ConfigError(name, [f"it has {len(known)} files: name some with --file, or take --whole. {shown}"])
    return [known[each] for each in dict.fromkeys(names)] if names and not whole else [*about.files]


def _fetch(file: "RemoteFile", to: Path, console: Console) -> dict[str, str | bool]:
    """Download a file, print its place, and return it with its checksum."""
    from raypipe.data.reading.fetching import fetch

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    hidden = not console.is_terminal or detail() == "quiet"
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task(file.name, total=None)
        path, checksum = fetch(file, to, lambda here, size: progress.update(task, completed=here, total=size))
    told = "as published" if file.checksum else "no checksum is published: this one is remembered beside it"
    line = str(path) if detail() == "quiet" else f"{path}: {checksum}, {told}"
    console.print(Text(line), soft_wrap=True, highlight=False)
    return {"file": str(path), "checksum": checksum, "published": bool(file.checksum)}
