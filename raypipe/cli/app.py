"""The command line, with the commands to validate, plan and run experiments and to read results."""

import gc
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from raypipe import __version__
from raypipe.base.errors import ConfigError, FetchError, StageError
from raypipe.cli import data
from raypipe.cli.attack import attack
from raypipe.cli.evaluate import evaluate
from raypipe.cli.export import export
from raypipe.cli.signals import stop_signals
from raypipe.cli.terminal import output
from raypipe.evaluation.results.compute import compute_result, load_result, result_json
from raypipe.evaluation.results.run import read_run
from raypipe.experiment.load import load_experiment
from raypipe.experiment.schema import Experiment
from raypipe.models.weights import WeightsError
from raypipe.plan.listing import Listing, Prepared, check_experiment, evaluation_warnings, outline, prepare
from raypipe.progress.stage import stage_progress
from raypipe.progress.state import read_state
from raypipe.progress.tree import duration, run_tree, sign_of_life, silent
from raypipe.report.compare import comparison_notes, differences_sheet, side_by_side
from raypipe.report.layout import Book
from raypipe.report.plan import cells_sheet, describe_grid, groups_sheet, plan_line
from raypipe.report.screen import results_screen
from raypipe.report.tables import line_of, result_table, result_tables, table_of
from raypipe.storage.environment import without_credentials
from raypipe.storage.store import Store, StoreError

WATCH_SECONDS = 2.0

app = typer.Typer(
    help="Measure how easily a medical image classifier is fooled, and how much a defense helps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data.app, name="data")
ExperimentFile = Annotated[Path, typer.Argument(metavar="FILE", help="Experiment file (YAML).")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="FIELD=VALUE", help="Override a setting, for example train.epochs=3.")
]
Address = Annotated[str | None, typer.Option(help="Address of a Ray cluster; default: RAY_ADDRESS, or a local Ray.")]
Storage = Annotated[str | None, typer.Option(help="Folder for results, or a URI such as s3://bucket/path.")]


@app.command()
def validate(file: ExperimentFile, overrides: Overrides = []) -> None:  # noqa: B006  typer requires a list
    """Check an experiment file and its data, and list every error."""
    experiment, listings = check_experiment(file, overrides)
    aside = sum(item.split is None for item in listings[0].items)
    text = (
        f"{file}: valid. {describe_grid(experiment, outline(experiment, listings))}, {len(listings[0].items):,} files"
    )
    console = output()
    console.print(f"{text}, {aside} of them rejected" if aside else text, highlight=False, soft_wrap=True)
    _warn(experiment, listings, console)


@app.command()
def plan(
    file: ExperimentFile,
    overrides: Overrides = [],  # noqa: B006
    storage: Storage = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Estimate time and cost by short trials on this machine.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of workers of the estimated run; default: as many as fit on this machine."),
    ] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Price of one worker for an hour, in US dollars.")] = None,
    trial_tiles: Annotated[int, typer.Option(min=1, help="Number of tiles in the trial of each attack.")] = 8,
    every: Annotated[bool, typer.Option("--all", help="Show every cell.")] = False,
) -> None:
    """Count the cells of an experiment, finished and missing, and estimate the missing ones."""
    prepared = prepare(_load(file, overrides, storage))
    console = output()
    if estimate:
        _print_estimate(prepared, console, workers, price, trial_tiles, every)
        return
    make = cells_sheet if every else groups_sheet
    console.print(table_of(make(prepared.plan, prepared.store)))
    _warn(prepared.experiment, prepared.listings, console)
    line = plan_line(prepared.experiment, prepared.plan, prepared.store)
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _warn(experiment: Experiment, listings: Sequence[Listing], console: Console) -> None:
    for warning in evaluation_warnings(experiment, listings):
        console.print(Text(warning, "bold red"), soft_wrap=True)


def _print_estimate(
    prepared: Prepared, console: Console, workers: int | None, price: float | None, trial_tiles: int, every: bool
) -> None:
    from raypipe.forecast.forecast import forecast  # noqa: PLC0415  ART and scikit-learn are slow
    from raypipe.forecast.sheets import cells_sheet as costs_sheet  # noqa: PLC0415
    from raypipe.forecast.sheets import stages_sheet  # noqa: PLC0415

    begun = time.perf_counter()
    with console.status("") as status:

        def say(text: str) -> None:
            status.update(f"trying {text}")
            if not console.is_terminal:
                console.print(f"trying {text}", highlight=False)

        found = forecast(prepared, workers=workers, attacked=trial_tiles, say=say)
    if every:
        console.print(table_of(costs_sheet(prepared.experiment, found, price)))
    console.print(table_of(stages_sheet(prepared.experiment, found, price)))
    console.print(f"Tried for {duration(time.perf_counter() - begun)}.", highlight=False)


@app.command()
def run(
    file: ExperimentFile,
    overrides: Overrides = [],  # noqa: B006
    storage: Storage = None,
    address: Address = None,
) -> None:
    """Run the missing cells of an experiment, and print the results."""
    from raypipe.stages.pipeline import run_experiment  # noqa: PLC0415  only this command needs Ray

    console = output()
    with stop_signals(console):
        run_experiment(_load(file, overrides, storage), address=address, console=console)


@app.command()
def status(
    name: Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.")],
    storage: Annotated[str, typer.Option(help="Store of the run: a folder or a URI.")] = "results",
    watch: Annotated[bool, typer.Option("--watch", help="Repeat until the run ends.")] = False,
) -> None:
    """Print the progress of a run, also from another machine."""
    store, console = Store.open(storage), output()
    state = read_state(store, name)
    if watch and state.state == "running":
        with Live(run_tree(state, console.height), console=console, transient=True) as live:
            while state.state == "running" and not silent(state):
                time.sleep(WATCH_SECONDS)
                state = read_state(store, name)
                live.update(run_tree(state, console.height))
    console.print(run_tree(state))
    if state.state == "running":
        console.print(Text(sign_of_life(state), "bold red" if silent(state) else "dim"), soft_wrap=True)
    if state.state == "done":
        console.print(f"Results: {store.path(f'runs/{name}')}", soft_wrap=True, highlight=False)


@app.command()
def results(
    name: Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.")],
    storage: Annotated[str, typer.Option(help="Store of the run: a folder or a URI.")] = "results",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
    recompute: Annotated[bool, typer.Option(help="Compute every figure again from the stored predictions.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Print every table.")] = False,
    table: Annotated[str | None, typer.Option(metavar="NAME", help="Print one table: robustness, attacks, ...")] = None,
) -> None:
    """Print the summary of a run, or its tables."""
    store = Store.open(storage)
    result = compute_result(store, read_run(store, name)) if recompute else load_result(store, name)
    if as_json:
        sys.stdout.write(result_json(result))
        return
    console = output()
    if table:
        console.print(result_table(result, table))
        return
    for part in result_tables(result) if every else results_screen(Book.from_result(result)):
        console.print(part)
    console.print(f"Results: {result.location}", soft_wrap=True, highlight=False)


@app.command()
def report(
    name: Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.")],
    storage: Annotated[str, typer.Option(help="Store of the run: a folder or a URI.")] = "results",
    pdf: Annotated[bool, typer.Option("--pdf", help="Also print it to report.pdf, with a local Chromium.")] = False,
) -> None:
    """Write the report of a run, one HTML page for browser and printer, and its summary on one page."""
    from raypipe.report.page.pdf import NO_BROWSER, find_browser, write_pdf  # noqa: PLC0415
    from raypipe.report.page.report import write_report  # noqa: PLC0415  drawing takes matplotlib

    store = Store.open(storage)
    where = write_report(read_run(store, name), load_result(store, name), store)
    console = output()
    console.print(f"Report: {where}", soft_wrap=True, highlight=False)
    if pdf:
        browser = find_browser()
        text = f"PDF: {write_pdf(store, name, browser)}" if browser else NO_BROWSER
        console.print(text, soft_wrap=True, highlight=False)


@app.command()
def compare(
    names: Annotated[
        list[str], typer.Argument(metavar="RUN RUN...", help="Names of two or more runs; the first is the reference.")
    ],
    storage: Annotated[str, typer.Option(help="Store of the runs: a folder or a URI.")] = "results",
) -> None:
    """Compare runs side by side, with intervals of the differences."""
    from raypipe.evaluation.results.across import differences_across  # noqa: PLC0415
    from raypipe.report.page.compare import write_comparison  # noqa: PLC0415

    names = list(dict.fromkeys(names))
    if len(names) < 2:
        raise ConfigError("compare", [f"expected two runs or more, got {', '.join(names)}"])
    store = Store.open(storage)
    runs = [read_run(store, name) for name in names]
    books = {name: Book.from_result(load_result(store, name)) for name in names}
    differences = differences_across(runs, store)
    console = output()
    for sheet in (side_by_side(books), differences_sheet(differences)):
        if sheet is not None:
            console.print(table_of(sheet))
    for note in comparison_notes(runs):
        console.print(line_of(note), soft_wrap=True)
    where = write_comparison(runs, books, differences, store)
    console.print(f"Comparison: {where}", soft_wrap=True, highlight=False)


@app.command()
def index(storage: Annotated[str, typer.Option(help="Store of the runs: a folder or a URI.")] = "results") -> None:
    """Write a page that ranks the models of all runs with the same tiles, threat model and attacks."""
    from raypipe.report.page.index import write_index  # noqa: PLC0415

    output().print(f"Index: {write_index(Store.open(storage))}", soft_wrap=True, highlight=False)


@app.command()
def track(
    name: Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.")],
    uri: Annotated[
        str, typer.Option("--to", help="MLflow server, file:FOLDER for MLflow files, or tensorboard:FOLDER.")
    ],
    storage: Annotated[str, typer.Option(help="Store of the run: a folder or a URI.")] = "results",
) -> None:
    """Log a run to MLflow or TensorBoard."""
    from raypipe.export.tracking import track  # noqa: PLC0415  an extra

    store = Store.open(storage)
    track(read_run(store, name), load_result(store, name), store, uri)
    output().print(f"Logged to {without_credentials(uri)}", soft_wrap=True, highlight=False)


@app.command()
def audit(
    data: Annotated[str, typer.Argument(metavar="DATA", help="Folder or zip archive with one folder for each class.")],
    groups: Annotated[
        str | None, typer.Option(metavar="CSV", help="Known groups, to compare the found ones with.")
    ] = None,
    group_pattern: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Regular expression for file names; its first group is the case."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="CSV", help="File to write the found groups to.")] = None,
    train_fraction: Annotated[
        float, typer.Option(help="Share of training tiles in the random split that is checked.")
    ] = 0.7,
    seed: Annotated[int, typer.Option(help="Seed of the random split.")] = 0,
    pairs: Annotated[int, typer.Option(min=0, help="Number of closest pairs to print.")] = 10,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes.")] = os.cpu_count() or 1,
) -> None:
    """Find augmented siblings, and count the test tiles of a random split that have one in training."""
    from raypipe.data.audit.audit import audit_source, open_data, write_groups  # noqa: PLC0415  scikit-learn is slow
    from raypipe.report.audit import audit_tables  # noqa: PLC0415

    console = output()
    try:
        source = open_data(data, groups, group_pattern)
        found = audit_source(
            source,
            by_name=group_pattern is not None,
            train_fraction=train_fraction,
            seed=seed,
            workers=workers,
            progress=partial(stage_progress, console),
        )
    except ValueError as error:
        raise ConfigError(data, [str(error)]) from error
    for table in audit_tables(found, data, pairs):
        console.print(table)
    if out is not None:
        write_groups(found.tiles, out)
        console.print(f"Groups: {out}", soft_wrap=True, highlight=False)


app.command()(export)
app.command()(attack)
app.command()(evaluate)


@app.command()
def version() -> None:
    """Print the version."""
    output().print(__version__, highlight=False)


def main() -> None:
    """Run the command line, as the entry point of the console script."""
    gc.freeze()  # skip about a million objects from imports that live to the end; one pass over them takes 0.3 s
    with tell_errors():
        app()


@contextmanager
def tell_errors() -> Iterator[None]:
    """Print errors that the user can fix in one line, without a traceback, and set the exit status.

    The status is 2 for an error of the experiment file, and 1 for other errors.
    """
    try:
        yield
    except (ConfigError, FetchError, StageError, WeightsError, StoreError, FileNotFoundError) as error:
        Console(stderr=True).print(Text(printable(str(error)), "red"), soft_wrap=True)
        raise SystemExit(2 if isinstance(error, ConfigError) else 1) from error


def printable(text: str) -> str:
    """Return a text with control characters escaped, so that file names cannot control the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)


def _load(file: Path, overrides: list[str], storage: str | None) -> Experiment:
    return load_experiment(file, [*overrides, *([f"storage={storage}"] if storage else [])])


if __name__ == "__main__":
    main()
