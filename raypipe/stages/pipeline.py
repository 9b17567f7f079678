"""A whole run: it plans, computes the missing cells stage by stage, and writes the results and the report."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from raypipe.base.errors import StageError
from raypipe.evaluation.results.result import RunResult
from raypipe.evaluation.results.run import Run
from raypipe.execution.completion import (
    ATTACK,
    ATTACK_HARDENED,
    complete_attacks,
    complete_ingest,
    complete_overlaps,
    complete_tests,
    list_stage_states,
)
from raypipe.execution.finish_run import finish_run
from raypipe.experiment.schema import Experiment
from raypipe.export.tracking import require_tracker, track
from raypipe.plan.cells import add_candidates, find_unfinished, find_unfinished_fits, remove_artifacts
from raypipe.plan.listing import Prepared, prepare, warn_of_few_tiles
from raypipe.plan.record import write_plan
from raypipe.progress.callback import ProgressCallback, ignore_progress
from raypipe.progress.run import RunProgress, run_progress
from raypipe.progress.stage import Detail
from raypipe.report.layout import Book
from raypipe.report.plan import describe_plan
from raypipe.report.screen import render_run
from raypipe.report.sheet import Note
from raypipe.report.tables import render_note, render_tables
from raypipe.stages.cluster import connect, inspect_environment
from raypipe.stages.cluster_executor import ClusterExecutor
from raypipe.stages.harden import harden
from raypipe.stages.metrics import note_cells
from raypipe.stages.placement import require_room
from raypipe.stages.train import train
from raypipe.stages.watch import get_planned_epochs
from raypipe.storage.environment import write_environment
from raypipe.storage.store import Store


def run_experiment(
    experiment: Experiment,
    *,
    address: str | None = None,
    console: Console | None = None,
    force: bool = False,
    detail: Detail = "normal",
    callback: ProgressCallback = ignore_progress,
) -> RunResult:
    """Run the missing cells of an experiment, and print its conclusion.

    Parameters
    ----------
    experiment
        Experiment as returned by `raypipe.experiment.load.load_experiment`.
    address
        Address of a running Ray cluster; see `raypipe.stages.cluster.connect`.
    console
        Console for progress and the conclusion; default: standard output.
    force
        True to compute every cell again, and replace the ones that the store has. Other runs may share them.
    detail
        ``quiet`` prints only the place of the report, and ``verbose`` every epoch, finished model and table too.
    callback
        Called with the progress each time something is done. An exception that it raises ends the run.

    Raises
    ------
    raypipe.base.errors.ConfigError
        If the experiment cannot run on the available data.
    raypipe.base.errors.StageError
        If a stage fails. Finished cells are kept, and the same call continues from there.
    """
    console = console or Console()
    if experiment.tracking:
        require_tracker(experiment.tracking)
    prepared = prepare(experiment)
    store, plan = prepared.store, prepared.plan
    write_plan(store, experiment.name, add_candidates(plan.cells))
    if force:
        remove_artifacts(plan.cells, store)
    missing = find_unfinished(plan.cells, store)  # asked once: an object store takes long to answer for many cells
    if detail != "quiet":
        console.print(
            describe_plan(experiment, plan, store, len(missing)), highlight=False, markup=False, soft_wrap=True
        )
    for warning in warn_of_few_tiles(experiment, prepared.listings):
        console.print(render_note(Note(warning, "bad")), soft_wrap=True)
    states = tuple(list_stage_states(plan, missing))
    with run_progress(console, store, experiment.name, states, note_cells, detail, callback) as progress:
        if todo := {cell.stage for cell in missing}:
            with connect(address, _log_file(store, experiment.name)), _record_end(progress):
                require_room(todo, experiment.resources)
                write_environment(store, experiment.name, inspect_environment())
                _complete(prepared, progress)
        settings = experiment.model_dump(mode="json")
        source, data = prepared.listings[0].source, settings["data"]["source"]
        run, result, report = finish_run(
            experiment.name,
            plan,
            source,
            data,
            settings,
            store,
            paper_tables=experiment.report.paper_tables,
            say=progress.say,
        )
    if detail == "quiet":
        console.print(f"Report: {report}", highlight=False, soft_wrap=True)
    else:
        _print_results(result, report, experiment.storage, console, detail)
    if experiment.tracking:
        _track(run, result, store, experiment.tracking, console)
    return result


def _track(run: Run, result: RunResult, store: Store, uri: str, console: Console) -> None:
    """Log a finished run. A failure is printed only: the results are complete, and can be logged later."""
    try:
        track(run, result, store, uri)
    except StageError as error:
        console.print(render_note(Note(str(error), "bad")), soft_wrap=True)


def _print_results(result: RunResult, report: str, storage: str, console: Console, detail: Detail) -> None:
    if detail == "verbose":
        for table in render_tables(result):
            console.print(table)
    book = Book.from_result(result)
    for part in render_run(book, run=result.name, storage=storage, folder=result.location, report=report):
        console.print(part, highlight=False)


@contextmanager
def _record_end(progress: RunProgress) -> Iterator[None]:
    """Record how the block ends while Ray is still connected, because Ray exports the last metrics."""
    try:
        yield
        progress.note()
    except BaseException as error:
        progress.fail(error)
        raise


def _complete(prepared: Prepared, progress: RunProgress) -> None:
    """Complete every stage in turn, because each stage needs the results of the earlier ones."""
    plan, store, resources = prepared.plan, prepared.store, prepared.experiment.resources
    executor = ClusterExecutor(store, resources)
    for cell, listing in prepared.ingests:
        complete_ingest(cell, listing.source, listing.items, executor, progress)
    complete_overlaps(plan, {cell.key: listing for cell, listing in prepared.ingests}, executor, progress)
    if cells := find_unfinished(plan.stage("train"), store):
        epochs = sum(get_planned_epochs(cell) for cell in cells)
        with progress.stage("train", epochs, "epochs") as stage:
            train(plan.stage("train"), store, resources, stage)
    complete_attacks(plan, ATTACK, executor, progress)
    if cells := find_unfinished(plan.stage("harden"), store):
        epochs = sum(get_planned_epochs(fit) for fit in find_unfinished_fits(cells, store))
        with progress.stage("harden", epochs, "epochs") as stage:
            harden(cells, store, resources, stage)
    complete_attacks(plan, ATTACK_HARDENED, executor, progress)
    complete_tests(plan, executor, progress)


def _log_file(store: Store, name: str) -> Path:
    if store.is_local:
        return Path(store.path(f"runs/{name}/ray.log"))
    return Path(tempfile.gettempdir()) / f"raypipe-{os.getuid()}" / f"{name}.log"
