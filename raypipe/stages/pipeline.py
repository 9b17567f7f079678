"""A whole run: plan, do what is missing stage by stage, and write down what came out."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from rich.console import Console

from raypipe.config import Experiment
from raypipe.evaluation.records import RunResult, record, stamps, write_result
from raypipe.listing import Prepared, prepare
from raypipe.plan import Cell, GridCell, Stage, candidates
from raypipe.report.tables import plan_table, result_tables
from raypipe.stages.attack import attack
from raypipe.stages.cluster import connected
from raypipe.stages.evaluate import evaluate
from raypipe.stages.harden import harden
from raypipe.stages.ingest import ingest
from raypipe.stages.train import train
from raypipe.store import Store
from raypipe.telemetry import stage_progress


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
    prepared = prepare(experiment)
    store, plan = prepared.store, prepared.plan
    console.print(plan_table(experiment, plan, store))
    if any(not cell.manifest(store) for cell in plan.cells):
        with connected(address, _log_file(store, experiment.name)):
            _complete(prepared, console)
    result = _write_results(prepared)
    for table in result_tables(result.records):
        console.print(table)
    console.print(f"Results: {result.location}", soft_wrap=True, highlight=False)
    return result


def _complete(prepared: Prepared, console: Console) -> None:
    """Every stage, one after the other: each needs what the one before it made."""
    plan, store, resources = prepared.plan, prepared.store, prepared.experiment.resources

    def to_do(stage: Stage) -> tuple[Cell, ...]:
        return tuple(cell for cell in plan.stage(stage) if not cell.manifest(store))

    if cells := to_do("ingest"):
        items = prepared.listing.items
        with stage_progress(console, "ingest", len(items), "files") as progress:
            ingest(cells[0], prepared.listing.source, items, store, resources, progress)
    if cells := to_do("train"):
        epochs = sum(cell.spec.recipe.epochs for cell in cells)
        with stage_progress(console, "train", epochs, "epochs") as progress:
            train(plan.stage("train"), store, resources, progress)
    counts = {split: sum(of.values()) for split, of in (plan.tiles.manifest(store) or {})["counts"].items()}
    if cells := to_do("attack"):
        tiles = sum(counts[cell.spec.split] for cell in cells)
        with stage_progress(console, "attack", tiles, "tiles") as progress:
            attack(cells, store, resources, progress)
    if cells := to_do("harden"):
        fits = [candidate for cell in cells for candidate in candidates(cell) if not candidate.manifest(store)]
        epochs = sum(fit.spec.defense.epochs for fit in fits)
        with stage_progress(console, "harden", epochs, "epochs") as progress:
            harden(cells, store, resources, progress)
    if cells := to_do("evaluate"):
        with stage_progress(console, "evaluate", len(cells) * counts["test"], "predictions") as progress:
            evaluate(cells, store, resources, progress)


def _write_results(prepared: Prepared) -> RunResult:
    experiment, store, plan = prepared.experiment, prepared.store, prepared.plan
    tiles = plan.tiles.manifest(store) or {}
    marks = stamps(tiles)
    records = [
        record(_identity(experiment, row, column, cell), _predictions(store, cell), tiles["labels"], marks)
        for row in plan.grid
        for column, cell in row.columns.items()
    ]
    resolved = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
    store.write_bytes(f"runs/{experiment.name}/experiment.yaml", resolved.encode())
    return write_result(store, experiment.name, records)


def _identity(experiment: Experiment, row: GridCell, column: str, cell: Cell) -> dict[str, Any]:
    return {
        "model": row.model,
        "attack": row.attack,
        "defense": row.defense,
        "column": column,
        "backbone": experiment.models[row.model].name,
        "method": experiment.attacks[row.attack].name,
        "model_key": cell.inputs["model"].key,
        "tiles_key": cell.inputs["tiles"].key,
        "predictions_key": cell.key,
    }


def _predictions(store: Store, cell: Cell) -> pa.Table:
    return pa.concat_tables(store.iter_tables(cell.kind, cell.key))


def _log_file(store: Store, name: str) -> Path:
    if store.is_local:
        return Path(store.path(f"runs/{name}/ray.log"))
    return Path(tempfile.gettempdir()) / f"raypipe-{os.getuid()}" / f"{name}.log"
