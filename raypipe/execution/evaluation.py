"""The evaluation of one finished model in this process: a plan over one model, completed by the local executor."""

import os
import re
from dataclasses import dataclass

from rich.console import Console

from raypipe.attacks.engine.victim import freeze
from raypipe.evaluation.results.compute import serialize_result
from raypipe.evaluation.results.run import GIVEN, RUN_FILE, read_run
from raypipe.evaluation.settings import Evaluation
from raypipe.execution.executor import Executor
from raypipe.execution.finished_model import Shape, device_of, import_model, require_classes
from raypipe.execution.local import LocalExecutor
from raypipe.execution.model_cache import ModelCache
from raypipe.execution.results import Finished, finish_run
from raypipe.execution.stages import ATTACK, complete_attacks, complete_ingest, complete_tests, stage_states
from raypipe.experiment.schema import Tiles
from raypipe.models.given import GivenModel
from raypipe.plan.cells import Cell, ImportSpec, IngestSpec, unfinished
from raypipe.plan.graph import Plan, plan_evaluation
from raypipe.plan.listing import Listing, ingest_spec
from raypipe.plan.pairings import Examination
from raypipe.progress.run import RunProgress, run_progress
from raypipe.progress.stage import Detail
from raypipe.storage.environment import describe_environment, write_environment
from raypipe.storage.store import Store

RESULTS_FILE = "results.json"
SEED = 0
"""Seed of the calibration error's bootstrap, of the planted examples and of the order of tiles."""


@dataclass(frozen=True)
class GivenTiles:
    """The tiles that a finished model is tested on.

    Parameters
    ----------
    listing
        Files of the data set, all of them test tiles. Its labels are the model's, in the order of its logits.
    data
        Name of the data set's kind.
    size
        Height and width that images are resized to, in pixels; None if they keep their own size.
    shape
        Shape of every tile: channels, height, width.
    """

    listing: Listing
    data: str
    size: int | None
    shape: Shape


def evaluate_model(
    model: GivenModel,
    tiles: GivenTiles,
    settings: Evaluation,
    store: Store,
    *,
    batch_size: int | None = None,
    console: Console,
    detail: Detail = "normal",
) -> Finished:
    """Run every attack in `settings` on a model, check the attacks, and store everything as a run in `store`.

    Parameters
    ----------
    model, tiles
        Model to evaluate, and tiles to evaluate it on.
    settings
        Settings as in the section ``evaluation`` of an experiment; `transfer` does not apply.
    store
        Any store. Finished results in it are reused.
    batch_size
        Tiles per pass; default: found by trial.
    console
        Console for the progress.
    detail
        Amount of text; ``quiet`` shows no progress.

    Raises
    ------
    FileExistsError
        If the store has a run of an experiment with the name of the model, or another model with the same state.
    ValueError
        If the model does not fit the tiles.
    raypipe.base.errors.StageError
        If no file gives a tile, or the work on a shard fails. Finished shards are kept.
    """
    name = run_name(model.name)
    require_classes(model.network, tiles.shape, tiles.listing.source.labels)
    require_own_run(store, name)
    plan = plan_evaluation(
        name, import_spec(model, tiles), spec_of(tiles), Examination({}, settings, tiles.shape[1], SEED)
    )
    (imported,) = plan.stage("import")
    import_model(imported, model, store)
    executor = local_executor(imported, model, store, batch_size)
    asked = {"name": name, "model": model.form, "evaluation": settings.model_dump(mode="json"), "seed": SEED}
    with run_progress(console, store, name, tuple(stage_states(plan, store)), detail=detail) as progress:
        if unfinished(plan.cells, store):
            gpus = {"GPU": 1.0} if executor.models.device.type == "cuda" else {}
            write_environment(store, name, describe_environment(1, {"CPU": float(os.cpu_count() or 1), **gpus}))
        with freeze(model.network):
            complete_evaluation(plan, tiles, executor, progress)
        finished = finish_run(name, plan, tiles.listing.source, tiles.data, asked, store, say=progress.say)
        store.write_bytes(f"runs/{name}/{RESULTS_FILE}", serialize_result(finished.result).encode())
    return finished


def complete_evaluation(plan: Plan, tiles: GivenTiles, executor: Executor, progress: RunProgress) -> None:
    """Complete a plan over one imported model with any executor."""
    (cell,) = plan.stage("ingest")
    complete_ingest(cell, tiles.listing.source, tiles.listing.items, executor, progress)
    complete_attacks(plan, ATTACK, executor, progress)
    complete_tests(plan, executor, progress)


def local_executor(imported: Cell, model: GivenModel, store: Store, batch_size: int | None) -> LocalExecutor:
    """Return the executor that holds an imported model in memory, on the model's own device."""
    held = {imported.key: model.network}
    return LocalExecutor(ModelCache(store, device_of(model.network), batch_size, held))


def import_spec(model: GivenModel, tiles: GivenTiles) -> ImportSpec:
    """Return the settings that determine an imported model."""
    return ImportSpec(content=model.content, form=model.form, shape=tiles.shape)


def spec_of(tiles: GivenTiles) -> IngestSpec:
    """Return the settings that determine the tiles. This reads their content."""
    listing = tiles.listing
    fingerprint = listing.source.fingerprint([item.ref for item in listing.items])
    return ingest_spec(
        listing, fingerprint, size=tiles.size, seed=SEED, shard_size=Tiles().shard_size, scaled_decoding=False
    )


def run_name(model: str) -> str:
    """Return a valid run name for a model's name."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", model).lstrip("_.-") or "model"


def require_own_run(store: Store, name: str) -> None:
    """Require that a run of a name, if there is one, is an evaluation of a finished model.

    Raises
    ------
    FileExistsError
        If it is the run of an experiment, which must not be overwritten.
    """
    if store.exists(f"runs/{name}/{RUN_FILE}") and any(
        subject.split != GIVEN for subject in read_run(store, name).subjects
    ):
        raise FileExistsError(
            f"{store.root} has a run {name!r} of an experiment: give the model another name (--name), or another folder"
        )
