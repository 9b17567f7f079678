"""The commands on runs: `raypipe status`, `results`, `report`, `compare`, `index` and `track`."""

import sys
import time
import webbrowser
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from rich.text import Text

from raypipe.base.errors import ConfigError
from raypipe.cli.detail import detail
from raypipe.cli.errors import errors_of
from raypipe.cli.options import All, AsJson, RunName, RunStorage, complete_runs, open_store
from raypipe.cli.terminal import output, print_json

if TYPE_CHECKING:
    from raypipe.storage.store import Store

WATCH_SECONDS = 2.0


def status(
    name: RunName,
    storage: RunStorage = "results",
    watch: Annotated[bool, typer.Option("--watch", help="Repeat until the run ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the progress of a run, also from another machine."""
    from raypipe.progress.state import read_state
    from raypipe.progress.tree import describe_sign_of_life, is_silent, run_tree

    store, console = open_store(storage), output(as_json=as_json)
    state = read_state(store, name)
    if watch and state.state == "running":
        live = Live(run_tree(state, console.height), console=console, transient=True)
        with live if console.is_terminal and detail() != "quiet" else nullcontext():
            while state.state == "running" and not is_silent(state):
                time.sleep(WATCH_SECONDS)
                state = read_state(store, name)
                live.update(run_tree(state, console.height))
    if as_json:
        sys.stdout.write(f"{state.model_dump_json(indent=1)}\n")
        return
    if detail() == "quiet":
        console.print(state.state)
        return
    console.print(run_tree(state))
    if state.state == "running":
        console.print(Text(describe_sign_of_life(state), "bold red" if is_silent(state) else "dim"), soft_wrap=True)
    if state.state == "done":
        console.print(f"Results: {store.path(f'runs/{name}')}", soft_wrap=True, highlight=False)


def results(
    name: RunName,
    storage: RunStorage = "results",
    as_json: AsJson = False,
    recompute: Annotated[bool, typer.Option(help="Compute every figure again from the stored predictions.")] = False,
    every: All = False,
    table: Annotated[str | None, typer.Option(metavar="NAME", help="Print one table: robustness, attacks, ...")] = None,
) -> None:
    """Print the summary of a run, or its tables."""
    from raypipe.evaluation.results.compute import compute_result
    from raypipe.evaluation.results.result import load_result, serialize_result
    from raypipe.evaluation.results.run import read_run
    from raypipe.report.layout import Book
    from raypipe.report.screen import render_results
    from raypipe.report.tables import find_section, render_section, render_tables

    store = open_store(storage)
    result = compute_result(store, read_run(store, name)) if recompute else load_result(store, name)
    console = output()
    if table:
        section = find_section(result, table)
        if as_json:
            print_json(section.sheet.as_dicts())
        else:
            console.print(render_section(section))
        return
    if as_json:
        sys.stdout.write(serialize_result(result))
        return
    if detail() != "quiet":
        whole = every or detail() == "verbose"
        for part in render_tables(result) if whole else render_results(Book.from_result(result)):
            console.print(part)
    console.print(f"Results: {result.location}", soft_wrap=True, highlight=False)


def report(
    name: RunName,
    storage: RunStorage = "results",
    open_it: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
    pdf: Annotated[bool, typer.Option("--pdf", help="Also print it to report.pdf, with a local Chromium.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the report of a run, one HTML page for browser and printer, and its summary on one page."""
    from raypipe.evaluation.results.result import load_result
    from raypipe.evaluation.results.run import read_run
    from raypipe.report.page.pdf import NO_BROWSER, find_browser, write_pdf
    from raypipe.report.page.report import write_report

    store, console = open_store(storage), output(as_json=as_json)
    if open_it and not store.is_local:
        raise ConfigError("--open", [f"{storage} is not on this machine; copy the report, or open it at its address"])
    where = write_report(read_run(store, name), load_result(store, name), store)
    console.print(f"Report: {where}", soft_wrap=True, highlight=False)
    printed = None
    if pdf:
        browser = find_browser()
        printed = write_pdf(store, name, browser) if browser else None
        console.print(f"PDF: {printed}" if printed else NO_BROWSER, soft_wrap=True, highlight=False)
    if as_json:
        print_json({"report": where, "pdf": printed})
    if open_it and not webbrowser.open(Path(where).as_uri()):
        raise ConfigError("--open", [f"no browser can be started here; open {where} in one"])


def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN...",
            help="Names of two or more runs; the first is the reference.",
            autocompletion=complete_runs,
        ),
    ],
    storage: RunStorage = "results",
    every: All = False,
    as_json: AsJson = False,
) -> None:
    """Compare runs side by side, with intervals of the differences."""
    from raypipe.evaluation.results.across import compare_across
    from raypipe.evaluation.results.result import load_result
    from raypipe.evaluation.results.run import read_run
    from raypipe.report.compare import list_incomparable, render_comparison
    from raypipe.report.layout import Book
    from raypipe.report.page.compare import write_comparison
    from raypipe.report.tables import render_note

    names = list(dict.fromkeys(names))
    if len(names) < 2:
        raise ConfigError("compare", [f"expected two runs or more, got {', '.join(names)}"])
    store = open_store(storage)
    runs = [read_run(store, name) for name in names]
    books = {name: Book.from_result(load_result(store, name)) for name in names}
    differences = compare_across(runs, store)
    if as_json:
        print_json(differences)
        return
    console = output()
    if detail() != "quiet":
        for part in render_comparison(books, differences, every=every or detail() == "verbose"):
            console.print(part)
    for note in list_incomparable(runs):
        console.print(render_note(note), soft_wrap=True)
    where = write_comparison(runs, books, differences, store)
    console.print(f"Comparison: {where}", soft_wrap=True, highlight=False)


def index(storage: RunStorage = "results", as_json: AsJson = False) -> None:
    """Write a page that ranks the models of all runs with the same tiles, threat model and attacks."""
    from raypipe.report.page.index import write_index

    where = write_index(open_store(storage))
    if as_json:
        print_json({"index": where})
    else:
        output().print(f"Index: {where}", soft_wrap=True, highlight=False)


def track(
    name: RunName,
    uri: Annotated[
        str,
        typer.Option(
            "--to", help="MLflow server, file:FOLDER or sqlite:///FILE of MLflow, tensorboard:FOLDER, or wandb:PROJECT."
        ),
    ],
    storage: RunStorage = "results",
    as_json: AsJson = False,
) -> None:
    """Log a run to MLflow, TensorBoard, or Weights & Biases."""
    from raypipe.base.tracking import require_tracking_address
    from raypipe.evaluation.results.result import load_result
    from raypipe.evaluation.results.run import read_run
    from raypipe.export.tracking import track as log_run
    from raypipe.storage.environment import hide_credentials

    store = open_store(storage)
    with errors_of("track"):
        require_tracking_address(uri)
        log_run(read_run(store, name), load_result(store, name), store, uri)
    if as_json:
        print_json({"run": name, "logged_to": hide_credentials(uri)})
    else:
        output().print(f"Logged to {hide_credentials(uri)}", soft_wrap=True, highlight=False)


def list_runs(store: "Store") -> Iterator[tuple[str, str]]:
    """Yield every run of a store with its state, sorted by name."""
    from raypipe.evaluation.results.run import RUN_FILE
    from raypipe.progress.state import PROGRESS_FILE, read_state

    for run in store.list_directories("runs"):
        if store.exists(f"runs/{run}/{PROGRESS_FILE}"):
            yield run, read_state(store, run).state
        elif store.exists(f"runs/{run}/{RUN_FILE}"):
            yield run, "done"
