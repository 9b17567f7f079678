"""The evaluation of one finished model in this process: a plan over one model, completed by the local executor."""

import os

from rich.console import Console

from raypipe.attacks.engine.victim import freeze
from raypipe.evaluation.results.compute import serialize_result
from raypipe.evaluation.results.run import GIVEN, RUN_FILE, read_run
from raypipe.evaluation.settings import Evaluation
from raypipe.execution.completion import ATTACK, complete_attacks, complete_ingest, complete_tests, stage_states
from raypipe.execution.executor import Executor
from raypipe.execution.finish_run import FinishedRun, finish_run
from raypipe.execution.import_model import describe_model, import_model, name_run
from raypipe.execution.local_executor import hold_model
from raypipe.execution.tile_set import SEED, TileSet, describe_tiles
from raypipe.models.finished_model import FinishedModel
from raypipe.plan.cells import remove_artifacts, unfinished
from raypipe.plan.graph import Plan, plan_evaluation
from raypipe.plan.pairings import Examination
from raypipe.progress.callback import ProgressCallback, ignore_progress
from raypipe.progress.run import RunProgress, run_progress
from raypipe.progress.stage import Detail
from raypipe.storage.environment import describe_environment, write_environment
from raypipe.storage.store import Store

RESULTS_FILE = "results.json"


def evaluate_model(
    model: FinishedModel,
    tiles: TileSet,
    settings: Evaluation,
    store: Store,
    *,
    batch_size: int | None = None,
    console: Console,
    detail: Detail = "normal",
    force: bool = False,
    callback: ProgressCallback = ignore_progress,
) -> FinishedRun:
    """Run every attack in `settings` on a model, check the attacks, and store everything as a run in `store`.

    Parameters
    ----------
    model, tiles
        Model to evaluate, as `raypipe.execution.adapt_network.use_adapted` returns it, and tiles to evaluate it on.
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
    force
        True to compute every cell again, and replace the ones that the store has. Other runs may share them.
    callback
        Called with the progress each time something is done.

    Raises
    ------
    FileExistsError
        If the store has a run of an experiment with the name of the model, or another model with the same state.
    raypipe.base.errors.StageError
        If no file gives a tile, or the work on a shard fails. Finished shards are kept.
    """
    name = name_run(model.name)
    require_own_run(store, name)
    exam = Examination({}, settings, tiles.shape[1], SEED)
    plan = plan_evaluation(name, describe_model(model, tiles.shape), describe_tiles(tiles), exam)
    if force:
        remove_artifacts(plan.cells, store)
    (import_cell,) = plan.stage("import")
    import_model(import_cell, model, store)
    executor = hold_model(import_cell, model.network, store, batch_size)
    record = {"name": name, "model": model.form, "evaluation": settings.model_dump(mode="json"), "seed": SEED}
    states = tuple(stage_states(plan, store))
    with run_progress(console, store, name, states, detail=detail, callback=callback) as progress:
        if unfinished(plan.cells, store):
            gpus = {"GPU": 1.0} if executor.models.device.type == "cuda" else {}
            write_environment(store, name, describe_environment(1, {"CPU": float(os.cpu_count() or 1), **gpus}))
        with freeze(model.network):
            complete_evaluation(plan, tiles, executor, progress)
        end = finish_run(name, plan, tiles.listing.source, tiles.data, record, store, say=progress.say)
        store.write_bytes(f"runs/{name}/{RESULTS_FILE}", serialize_result(end.result).encode())
    return end


def complete_evaluation(plan: Plan, tiles: TileSet, executor: Executor, progress: RunProgress) -> None:
    """Complete a plan over one imported model with any executor."""
    (cell,) = plan.stage("ingest")
    complete_ingest(cell, tiles.listing.source, tiles.listing.items, executor, progress)
    complete_attacks(plan, ATTACK, executor, progress)
    complete_tests(plan, executor, progress)


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
