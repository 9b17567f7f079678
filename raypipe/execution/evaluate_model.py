"""The evaluation of one finished model in this process: a plan over one model, completed by the local executor."""

import os
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from rich.console import Console

from raypipe.attacks.engine.victim import freeze
from raypipe.base.errors import ConfigError
from raypipe.evaluation.results.result import serialize_result
from raypipe.evaluation.results.run import GIVEN, RUN_FILE, read_run
from raypipe.evaluation.settings import Evaluation
from raypipe.execution.completion import ATTACK, complete_attacks, complete_ingest, complete_tests, list_stage_states
from raypipe.execution.executor import Executor
from raypipe.execution.finish_run import FinishedRun, finish_run
from raypipe.execution.import_model import describe_model, import_model, name_run
from raypipe.execution.local_executor import hold_model
from raypipe.execution.tile_set import SEED, TileSet, describe_tiles
from raypipe.models.finished_model import FinishedModel
from raypipe.plan.cells import find_unfinished, remove_artifacts
from raypipe.plan.files import list_external
from raypipe.plan.graph import Plan, plan_evaluation
from raypipe.plan.pairings import Examination
from raypipe.plan.record import write_plan
from raypipe.progress.callback import ProgressCallback, ignore_progress
from raypipe.progress.run import RunProgress, run_progress
from raypipe.progress.stage import Detail
from raypipe.storage.environment import describe_environment, write_environment
from raypipe.storage.store import Store

RESULTS_FILE = "results.json"
NO_TRAINING_TILES = (
    "universal: the pattern is made from training tiles, and a finished model comes without them; leave it out, or run "
    "an experiment"
)


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
    raypipe.base.errors.ConfigError
        If the settings need training tiles, or an external test set cannot be listed.
    FileExistsError
        If the store has a run of an experiment with the name of the model, or another model with the same state.
    raypipe.base.errors.StageError
        If no file gives a tile, or the work on a shard fails. Finished shards are kept.
    """
    if settings.universal is not None:
        raise ConfigError("evaluate", [NO_TRAINING_TILES])
    name = name_run(model.name)
    require_own_run(store, name)
    exam = Examination({}, settings, tiles.shape[1], SEED)
    external = list_external_tiles(settings, tiles)
    others = {set_id: describe_tiles(each) for set_id, each in external.items()}
    plan = plan_evaluation(name, describe_model(model, tiles.shape), describe_tiles(tiles), exam, others)
    write_plan(store, name, plan.cells)
    if force:
        remove_artifacts(plan.cells, store)
    (import_cell,) = plan.stage("import")
    import_model(import_cell, model, store)
    executor = hold_model(import_cell, model.network, store, batch_size)
    record = {"name": name, "model": model.form, "evaluation": settings.model_dump(mode="json"), "seed": SEED}
    missing = find_unfinished(plan.cells, store)
    states = tuple(list_stage_states(plan, missing))
    with run_progress(console, store, name, states, detail=detail, callback=callback) as progress:
        if missing:
            gpus = {"GPU": 1.0} if executor.models.device.type == "cuda" else {}
            write_environment(store, name, describe_environment(1, {"CPU": float(os.cpu_count() or 1), **gpus}))
        with freeze(model.network):
            complete_evaluation(plan, tiles, executor, progress, external)
        end = finish_run(name, plan, tiles.listing.source, tiles.data, record, store, say=progress.say)
        store.write_bytes(f"runs/{name}/{RESULTS_FILE}", serialize_result(end.result).encode())
    return end


def list_external_tiles(settings: Evaluation, tiles: TileSet) -> dict[str, TileSet]:
    """Return the external test sets of an evaluation by id, in the size and with the labels of its own tiles.

    Raises
    ------
    raypipe.base.errors.ConfigError
        If a set cannot be listed, or its classes cannot be mapped.
    """
    listings = list_external(settings.external, tiles.listing.source.labels, SEED, "evaluate")
    size = tiles.shape[1]
    return {set_id: replace(tiles, listing=listing, size=size) for set_id, listing in listings.items()}


def complete_evaluation(
    plan: Plan,
    tiles: TileSet,
    executor: Executor,
    progress: RunProgress,
    external: Mapping[str, TileSet] = MappingProxyType({}),
) -> None:
    """Complete a plan over one imported model with any executor.

    Parameters
    ----------
    plan
        Plan of `raypipe.plan.graph.plan_evaluation`.
    tiles
        The listed tiles of the plan.
    executor
        Place where the tasks run. Its store receives the results.
    progress
        Progress of the run.
    external
        The listed external test sets, by id.
    """
    (cell,) = plan.tiles
    sets = [(cell, tiles), *((plan.external_tiles[set_id], each) for set_id, each in external.items())]
    for each, files in sets:
        complete_ingest(each, files.listing.source, files.listing.items, executor, progress)
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
