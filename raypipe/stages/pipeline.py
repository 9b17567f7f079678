"""A whole run: plan, do what is missing stage by stage, and write down what came out."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml
from rich.console import Console

from raypipe.cells import Cell, Stage, candidates
from raypipe.config import Experiment
from raypipe.description import describe_run
from raypipe.environment import write_environment
from raypipe.evaluation.results import RunResult, compute_result
from raypipe.evaluation.run import Run, write_run
from raypipe.listing import Prepared, prepare
from raypipe.report.page.index import write_index
from raypipe.report.page.report import write_report
from raypipe.report.tables import plan_table, result_tables
from raypipe.stages.attack import attack
from raypipe.stages.cluster import connected, environment
from raypipe.stages.diagnose import diagnose
from raypipe.stages.evaluate import evaluate
from raypipe.stages.harden import harden
from raypipe.stages.ingest import ingest
from raypipe.stages.train import train
from raypipe.store import Store
from raypipe.telemetry import stage_progress
from raypipe.tracking import require_mlflow, track


def run_experiment(experiment: Experiment, *, address: str | None = None, console: Console | None = None) -> RunResult:
    """Do what an experiment still lacks, and print its tables.

    Parameters
    ----------
    experiment
        As `raypipe.config.load_experiment` gives it.
    address
        Of a running Ray cluster; see `raypipe.stages.cluster.connected`.
    console
        Where progress and tables go; default: standard output.

    Raises
    ------
    raypipe.config.ConfigError
        If the experiment cannot be run on the data there is.
    raypipe.errors.StageError
        If a stage fails. What was finished is kept; the same call goes on from there.
    """
    console = console or Console()
    if experiment.tracking:
        require_mlflow()
    prepared = prepare(experiment)
    store, plan = prepared.store, prepared.plan
    console.print(plan_table(experiment, plan, store))
    if any(not cell.manifest(store) for cell in plan.cells):
        with connected(address, _log_file(store, experiment.name)):
            write_environment(store, experiment.name, environment())
            _complete(prepared, console)
    run = _describe(prepared)
    result = compute_result(store, run)
    for table in result_tables(result):
        console.print(table)
    report = write_report(run, result, store)
    write_index(store)
    if experiment.tracking:
        track(run, result, store, experiment.tracking)
    console.print(f"Results: {result.location}\nReport: {report}", soft_wrap=True, highlight=False)
    return result


def _complete(prepared: Prepared, console: Console) -> None:
    """Every stage, one after the other: each needs what those before it made."""
    plan, store, resources = prepared.plan, prepared.store, prepared.experiment.resources

    def to_do(stage: Stage) -> tuple[Cell, ...]:
        return tuple(cell for cell in plan.stage(stage) if not cell.manifest(store))

    for cell, listing in zip(plan.stage("ingest"), prepared.listings, strict=True):
        if not cell.manifest(store):
            with stage_progress(console, cell.name.replace("tiles", "ingest"), len(listing.items), "files") as progress:
                ingest(cell, listing.source, listing.items, store, resources, progress)
    if cells := to_do("train"):
        epochs = sum(cell.spec.recipe.epochs for cell in cells)
        with stage_progress(console, "train", epochs, "epochs") as progress:
            train(plan.stage("train"), store, resources, progress)
    _attack([cell for cell in to_do("attack") if cell.inputs["model"].stage == "train"], "attack", prepared, console)
    if cells := to_do("harden"):
        fits = [candidate for cell in cells for candidate in candidates(cell) if not candidate.manifest(store)]
        epochs = sum(fit.spec.defense.epochs for fit in fits)
        with stage_progress(console, "harden", epochs, "epochs") as progress:
            harden(cells, store, resources, progress)
    _attack(to_do("attack"), "attack hardened", prepared, console)
    if cells := to_do("diagnose"):
        tiles = sum(_tiles(cell, "test", cell.spec.tiles, store) for cell in cells)
        with stage_progress(console, "diagnose", tiles, "tiles") as progress:
            diagnose(cells, store, resources, progress)
    if cells := to_do("evaluate"):
        predictions = sum(_tested(cell, store) for cell in cells)
        with stage_progress(console, "evaluate", predictions, "predictions") as progress:
            evaluate(cells, store, resources, progress)


def _attack(cells: Sequence[Cell], title: str, prepared: Prepared, console: Console) -> None:
    if cells:
        store = prepared.store
        tiles = sum(_tiles(cell, cell.spec.split, cell.spec.tiles, store) for cell in cells)
        with stage_progress(console, title, tiles, "tiles") as progress:
            attack(cells, store, prepared.experiment.resources, progress)


def _tiles(cell: Cell, split: str, limit: int | None, store: Store) -> int:
    """How many tiles a cell works on."""
    counts = (cell.inputs["tiles"].manifest(store) or {})["counts"]
    there: int = sum(counts[split].values())
    return there if limit is None else min(limit, there)


def _tested(cell: Cell, store: Store) -> int:
    """How many tiles a cell predicts."""
    tiles = cell.inputs["tiles"]
    if tiles.stage == "ingest":
        return _tiles(cell, "test", None, store)
    return _tiles(tiles, tiles.spec.split, tiles.spec.tiles, store)


def _describe(prepared: Prepared) -> Run:
    """Write down what was tested, and how it was asked for."""
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
