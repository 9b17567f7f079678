"""The command `raypipe store`: the size of a store, what no run needs, and the removal of runs."""

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal

from raypipe.base.errors import ConfigError
from raypipe.cli.detail import choose_detail, detail, with_detail
from raypipe.cli.options import AsJson, RunName, RunStorage, open_store
from raypipe.cli.terminal import output, print_json

if TYPE_CHECKING:
    from raypipe.execution.housekeeping import Inventory, Part
    from raypipe.storage.store import Store

app = typer.Typer(help="Show the size of a store, and delete what no run needs.", no_args_is_help=True)
app.callback()(choose_detail)
Delete = Annotated[bool, typer.Option("--delete", help="Delete what is listed; without it nothing is deleted.")]


@app.command()
@with_detail
def size(storage: RunStorage = "results", as_json: AsJson = False) -> None:
    """Print the size of a store, by kind of its content and by run."""
    from raypipe.execution.housekeeping import list_shares
    from raypipe.report.fitting_table import render_table
    from raypipe.report.sheet import Sheet

    store, inventory = _open(storage)
    kinds: dict[str, list[Part]] = defaultdict(list)
    for part in inventory.parts.values():
        kinds[part.kind].append(part)
    runs = {run: {"bytes": whole, "only this run": alone} for run, whole, alone in list_shares(inventory)}
    unneeded = _sum_bytes(inventory.list_unneeded())
    if as_json:
        content = {kind: {"parts": len(parts), "bytes": _sum_bytes(parts)} for kind, parts in kinds.items()}
        print_json({"storage": store.root, "bytes": _sum_bytes(inventory.parts.values()), "unneeded": unneeded,
                    "content": content, "runs": runs})  # fmt: skip
        return
    console = output()
    if detail() != "quiet":
        content_sheet, runs_sheet = Sheet(""), Sheet("")
        content_sheet.add_columns("content")
        content_sheet.add_columns("parts", "size", figures=True)
        for kind, parts in sorted(kinds.items()):
            content_sheet.add_row(kind, f"{len(parts):,}", decimal(_sum_bytes(parts)))
        runs_sheet.add_columns("run")
        runs_sheet.add_columns("size", "only this run", figures=True)
        for run, sizes in runs.items():
            runs_sheet.add_row(run, *map(decimal, sizes.values()))
        console.print(*(render_table(sheet) for sheet in (content_sheet, runs_sheet) if sheet.rows), sep="")
    line = f"{store.root}: {decimal(_sum_bytes(inventory.parts.values()))}, of which no run needs {decimal(unneeded)}"
    console.print(f"{line}: raypipe store gc" if unneeded else line, soft_wrap=True, highlight=False)


@app.command()
@with_detail
def gc(storage: RunStorage = "results", delete: Delete = False, as_json: AsJson = False) -> None:
    """List what no run needs, and delete it on request. What runs need that are in work is kept."""
    from raypipe.execution.housekeeping import delete_unneeded

    store, inventory = _open(storage)
    parts = delete_unneeded(store, inventory) if delete else inventory.list_unneeded()
    _print_parts(parts, store, delete, as_json, "which no run needs")
    if inventory.unknown and not as_json:
        runs = ", ".join(inventory.unknown)
        output().print(
            f"Unfinished runs of an older raypipe may need some of it: {runs}", style="yellow", soft_wrap=True
        )


@app.command()
@with_detail
def rm(name: RunName, storage: RunStorage = "results", delete: Delete = False, as_json: AsJson = False) -> None:
    """List a run's folder and what only this run needs, and delete it on request."""
    from raypipe.base.settings import suggest_matches
    from raypipe.execution.housekeeping import delete_run
    from raypipe.report.page.index import write_index

    store, inventory = _open(storage)
    if name not in inventory.needs:
        hint = suggest_matches(name, inventory.needs) or f"; there are: {', '.join(inventory.needs) or 'none'}"
        raise ConfigError("store rm", [f"no run {name!r} in {store.root}{hint}"])
    if delete:
        parts = delete_run(store, inventory, name)
        write_index(store)
    else:
        parts = [inventory.parts[f"runs/{name}"], *inventory.list_needed_only_by(name)]
    _print_parts(parts, store, delete, as_json, f"which only the run {name} needs")


def _open(storage: str) -> "tuple[Store, Inventory]":
    from raypipe.execution.housekeeping import take_inventory

    store = open_store(storage)
    inventory = take_inventory(store)
    if not inventory.parts:
        raise ConfigError("--storage", [f"{storage}: there is no store; give the folder or URI of one"])
    return store, inventory


def _print_parts(parts: "list[Part]", store: "Store", deleted: bool, as_json: bool, what: str) -> None:
    if as_json:
        listed = [
            {"path": part.path, "kind": part.kind, "files": len(part.files), "bytes": part.size} for part in parts
        ]
        print_json({"storage": store.root, "deleted": deleted, "bytes": _sum_bytes(parts), "parts": listed})
        return
    console = output()
    quiet = detail() == "quiet"
    for part in parts:
        line = part.path if quiet else f"{decimal(part.size):>9}  {part.path}"
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    if quiet:
        return
    whole = f"{len(parts):,} parts, {decimal(_sum_bytes(parts))}, {what}"
    end = "deleted" if deleted else "nothing was deleted; add --delete" if parts else "nothing to delete"
    console.print(f"{whole}: {end}", soft_wrap=True, highlight=False, markup=False)


def _sum_bytes(parts: "Iterable[Part]") -> int:
    return sum(part.size for part in parts)
