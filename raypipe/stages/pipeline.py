"""A whole run: it plans, computes the missing cells stage by stage, and writes the results and the report."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml
from rich.console import Console

from raypipe.evaluation.results.compute import RunResult, compute_result
from raypipe.evaluation.results.run import Run, write_run
from raypipe.execution.attack import attack
from raypipe.execution.certify import certify
from raypipe.execution.diagnose import diagnose
from raypipe.execution.executor import Executor
from raypipe.execution.ingest import ingest
from raypipe.execution.predict import evaluate
from raypipe.experiment.schema import Experiment
from raypipe.export.tracking import require_tracker, track
from raypipe.plan.cells import Cell, unfinished, unfinished_fits
from raypipe.plan.description import describe_run
from raypipe.plan.graph import Plan
from raypipe.plan.listing import Prepared, evaluation_warnings, prepare
from raypipe.progress.pace import read_forecast
from raypipe.progress.run import RunProgress, run_progress
from raypipe.progress.stage import Detail, StageProgress
from raypipe.progress.state import StageState, stage_of
from raypipe.report.layout import Book
from raypipe.report.page.index import write_index
from raypipe.report.page.report import write_report
from raypipe.report.plan import plan_line
from raypipe.report.screen import run_screen
from raypipe.report.sheet import Note
from raypipe.report.tables import line_of, result_tables
from raypipe.stages.cluster import connected, environment
from raypipe.stages.executor import ClusterExecutor
from raypipe.stages.harden import harden
from raypipe.stages.metrics import note_cells
from raypipe.stages.placement import require_room
from raypipe.stages.train import train
from raypipe.storage.environment import write_environment
from raypipe.storage.store import Store

ATTACK, ATTACK_HARDENED = "attack", "attack hardened"


def run_experiment(
    experiment: Experiment,
    *,
    address: str | None = None,
    console: Console | None = None,
    force: bool = False,
    detail: Detail = "normal",
) -> RunResult:
    """Run the missing cells of an experiment, and print its conclusion.

    Parameters
    ----------
    experiment
        Experiment as returned by `raypipe.experiment.load.load_experiment`.
    address
        Address of a running Ray cluster; see `raypipe.stages.cluster.connected`.
    console
        Console for progress and the conclusion; default: standard output.
    force
        True to compute every cell again, and replace the ones that the store has. Other runs may share them.
    detail
        ``quiet`` prints only the place of the report, and ``verbose`` every epoch, finished model and table too.

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
    if force:
        for cell in plan.cells:
            store.remove(store.artifact(cell.kind, cell.key))
    if detail != "quiet":
        console.print(plan_line(experiment, plan, store), highlight=False, markup=False, soft_wrap=True)
    for warning in evaluation_warnings(experiment, prepared.listings):
        console.print(line_of(Note(warning, "bad")), soft_wrap=True)
    with run_progress(console, store, experiment.name, tuple(_stages(plan, store)), note_cells, detail) as progress:
        if todo := {cell.stage for cell in unfinished(plan.cells, store)}:
            with connected(address, _log_file(store, experiment.name)), _told(progress):
                require_room(todo, experiment.resources)
                write_environment(store, experiment.name, environment())
                _complete(prepared, progress)
        run = _describe(prepared)
        progress.say("computing the results")
        result = compute_result(store, run)
        progress.say("drawing the report")
        report = write_report(run, result, store)
        write_index(store)
    if detail == "quiet":
        console.print(f"Report: {report}", highlight=False, soft_wrap=True)
    else:
        _print_results(result, report, experiment.storage, console, detail)
    if experiment.tracking:
        track(run, result, store, experiment.tracking)
    return result


def _print_results(result: RunResult, report: str, storage: str, console: Console, detail: Detail) -> None:
    if detail == "verbose":
        for table in result_tables(result):
            console.print(table)
    book = Book.from_result(result)
    for part in run_screen(book, run=result.name, storage=storage, folder=result.location, report=report):
        console.print(part, highlight=False)


@contextmanager
def _told(progress: RunProgress) -> Iterator[None]:
    """Record how the block ends while Ray is still connected, because Ray exports the last metrics."""
    try:
        yield
        progress.note()
    except BaseException as error:
        progress.fail(error)
        raise


def _stages(plan: Plan, store: Store) -> Iterator[StageState]:
    """Return the states of the stages that the run consists of."""
    steps: dict[str, tuple[Cell, ...]] = {_ingest_name(cell): (cell,) for cell in plan.stage("ingest")}
    steps |= {"train": plan.stage("train"), ATTACK: _of_undefended(plan.stage("attack"))}
    steps |= {"harden": plan.stage("harden"), ATTACK_HARDENED: _of_hardened(plan.stage("attack"))}
    steps |= {name: plan.stage(name) for name in ("diagnose", "certify", "evaluate")}
    for name, cells in steps.items():
        if cells:
            yield stage_of(name, cells, store)


def _ingest_name(cell: Cell) -> str:
    return cell.name.replace("tiles", "ingest")


def _of_undefended(attacks: Sequence[Cell]) -> tuple[Cell, ...]:
    return tuple(cell for cell in attacks if cell.inputs["model"].stage == "train")


def _of_hardened(attacks: Sequence[Cell]) -> tuple[Cell, ...]:
    return tuple(cell for cell in attacks if cell.inputs["model"].stage != "train")


def _complete(prepared: Prepared, progress: RunProgress) -> None:
    """Complete every stage in turn, because each stage needs the results of the earlier ones."""
    plan, store, resources = prepared.plan, prepared.store, prepared.experiment.resources
    executor = ClusterExecutor(store, resources)

    def attack_all(cells: Sequence[Cell], name: str) -> None:
        if cells:
            tiles = store.ask_all(lambda cell: _tiles(cell, cell.spec.split, cell.spec.tiles, store), cells)
            with progress.stage(name, sum(tiles), "tiles") as stage:
                stage.expect(cells, tiles, read_forecast(store, prepared.experiment.name))
                stage.learn_from(plan.stage("attack"), store)
                attack(cells, executor, stage)

    for cell, listing in zip(plan.stage("ingest"), prepared.listings, strict=True):
        if not cell.manifest(store):
            with progress.stage(_ingest_name(cell), len(listing.items), "files") as stage:
                ingest(cell, listing.source, listing.items, executor, stage)
    if cells := unfinished(plan.stage("train"), store):
        epochs = sum(cell.spec.recipe.epochs for cell in cells)
        with progress.stage("train", epochs, "epochs") as stage:
            train(plan.stage("train"), store, resources, stage)
    attack_all(unfinished(_of_undefended(plan.stage("attack")), store), ATTACK)
    if cells := unfinished(plan.stage("harden"), store):
        epochs = sum(fit.spec.defense.epochs for fit in unfinished_fits(cells, store))
        with progress.stage("harden", epochs, "epochs") as stage:
            harden(cells, store, resources, stage)
    attack_all(unfinished(_of_hardened(plan.stage("attack")), store), ATTACK_HARDENED)
    _examine(unfinished(plan.stage("diagnose"), store), "diagnose", diagnose, executor, progress)
    _examine(unfinished(plan.stage("certify"), store), "certify", certify, executor, progress)
    if cells := unfinished(plan.stage("evaluate"), store):
        predictions = sum(store.ask_all(lambda cell: _tested(cell, store), cells))
        with progress.stage("evaluate", predictions, "predictions") as stage:
            evaluate(cells, executor, stage)


def _examine(
    cells: Sequence[Cell],
    name: str,
    examine: Callable[[Sequence[Cell], Executor, StageProgress], None],
    executor: Executor,
    progress: RunProgress,
) -> None:
    """Examine models on clean test tiles."""
    if cells:
        store = executor.store
        tiles = sum(store.ask_all(lambda cell: _tiles(cell, "test", cell.spec.tiles, store), cells))
        with progress.stage(name, tiles, "tiles") as stage:
            examine(cells, executor, stage)


def _tiles(cell: Cell, split: str, limit: int | None, store: Store) -> int:
    """Return the number of tiles that a cell works on."""
    counts = (cell.inputs["tiles"].manifest(store) or {})["counts"]
    there: int = sum(counts[split].values())
    return there if limit is None else min(limit, there)


def _tested(cell: Cell, store: Store) -> int:
    """Return the number of tiles that a cell predicts."""
    tiles = cell.inputs["tiles"]
    if tiles.stage == "ingest":
        return _tiles(cell, "test", None, store)
    return _tiles(tiles, tiles.spec.split, tiles.spec.tiles, store)


def _describe(prepared: Prepared) -> Run:
    """Write down the tested models and the resolved experiment."""
    experiment, store = prepared.experiment, prepared.store
    resolved = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
    store.write_bytes(f"runs/{experiment.name}/experiment.yaml", resolved.encode())
    run = describe_run(experiment, prepared.plan, prepared.listings[0].source, store)
    write_run(store, run)
    return run


def _log_file(store: Store, name: str) -> Path:
    if store.is_local:
        return Path(store.path(f"runs/{name}/ray.log"))
    return Path(tempfile.gettempdir()) / f"raypipe-{os.getuid()}" / f"{name}.log"
