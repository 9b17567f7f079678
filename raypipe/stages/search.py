"""Search of a defense's settings: Ray Tune trains the candidates, and ASHA stops those that are worse than others.

Each candidate is a cell of its own and is trained in one process. Its result is stored: its model if it is trained to
its last epoch, or its epochs if it is stopped. A search that was interrupted reports the stored epochs to the scheduler
again, and trains only the other candidates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, get_args

import ray.tune
import torch
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from raypipe.base.errors import StageError
from raypipe.defenses.search import SettingsSearch
from raypipe.experiment.schema import Resources
from raypipe.plan.cells import Cell, build_candidate, list_candidates
from raypipe.progress.stage import StageProgress
from raypipe.stages.candidate_records import (
    CandidateRecord,
    State,
    rate_candidate,
    read_candidate,
    remove_candidates,
    sum_costs,
    write_candidate,
)
from raypipe.stages.choice import publish_choice
from raypipe.stages.failures import describe_cause, find_root_cause, name_cell_in_errors
from raypipe.stages.fit_files import get_progress_path
from raypipe.stages.placement import find_room, list_needs
from raypipe.stages.trials import configure_trials
from raypipe.stages.worker_group import FitOne
from raypipe.stages.workers import SoleWorker
from raypipe.storage.store import Store
from raypipe.training.fit import EpochRecord

SCRATCH = "scratch/search"
SCORE, EPOCH = "robust_accuracy", "epoch"


def is_search(cell: Cell) -> bool:
    """Return True if a hardening cell chooses between candidates that are rated under an attack."""
    return cell.spec.judge is not None and list_candidates(cell) != [cell]


def search_settings(cell: Cell, fit: FitOne, store: Store, resources: Resources, progress: StageProgress) -> None:
    """Train the candidates of a search, and publish the best one as the artifact of its cell.

    Parameters
    ----------
    cell
        Hardening cell whose defense has a search.
    fit
        Function that fits and publishes one candidate.
    store, resources, progress
        Store of the models, resources of the experiment, and progress of the stage.

    Raises
    ------
    StageError
        If a candidate fails, or if no candidate is trained to its last epoch.
    """
    search = cell.spec.defense.search
    all_candidates = list_candidates(cell)
    if search.searcher == "tpe":
        all_candidates = all_candidates[: search.per_round]
    _train_candidates(cell, all_candidates, fit, store, resources, progress)
    while later := cell.spec.defense.propose_candidates(_list_scores(cell, all_candidates, store)):
        progress.say(f"{cell.name}: candidates {len(all_candidates)} to {len(all_candidates) + len(later) - 1}, by TPE")
        all_candidates += [
            build_candidate(cell, len(all_candidates) + number, each) for number, each in enumerate(later)
        ]
        _train_candidates(cell, all_candidates, fit, store, resources, progress)
    _publish_chosen(cell, all_candidates, store, progress)
    remove_candidates(cell, store)
    for candidate in all_candidates:
        store.remove(get_progress_path(candidate))


def _train_candidates(
    cell: Cell,
    all_candidates: Sequence[Cell],
    fit: FitOne,
    store: Store,
    resources: Resources,
    progress: StageProgress,
) -> None:
    """Train the candidates that have no stored result; the scheduler compares them with all of them."""
    # The scheduler sees the stored results first, and compares the other candidates with them.
    ordered = sorted(all_candidates, key=lambda each: read_candidate(cell, each, store).state == "running")
    by_name = {candidate.name: candidate for candidate in ordered}
    run_name = f"search-{cell.key}"
    room = find_room(resources, ask=len(ordered), on=resources.train_on, say=progress.say)

    def train(config: dict[str, Any]) -> None:
        torch.set_num_threads(max(1, int(resources.cpus_per_worker)))
        candidate = by_name[config["candidate"]]
        with name_cell_in_errors(candidate):
            _train_candidate(cell, candidate, fit, store, resources)

    results = ray.tune.Tuner(
        ray.tune.with_resources(train, list_needs(resources, resources.train_on)),
        param_space={"candidate": ray.tune.grid_search(list(by_name))},
        tune_config=ray.tune.TuneConfig(
            metric=SCORE,
            mode="max",
            scheduler=_make_scheduler(cell.spec.defense.search, all_candidates),
            reuse_actors=True,
            max_concurrent_trials=room,
            trial_name_creator=_name_trial,
            trial_dirname_creator=_name_trial,
        ),
        run_config=configure_trials(run_name, SCRATCH, store, [_StopRecorder(cell, by_name, store)]),
    ).fit()
    if results.errors:
        raise StageError(
            f"{cell.name}: a candidate of its search failed: {describe_cause(results.errors[0])}; finished candidates "
            "are kept, run again to continue"
        ) from find_root_cause(results.errors[0])
    store.remove(f"{SCRATCH}/{run_name}")


def _list_scores(cell: Cell, all_candidates: Sequence[Cell], store: Store) -> list[tuple[Any, float]]:
    """Return the settings and the score of each candidate.

    A candidate that was stopped has the score of its last rated epoch, and one that diverged has 0.
    """
    records = [read_candidate(cell, each, store) for each in all_candidates]
    scores = [
        0.0 if record.state == "diverged" else rate_candidate(each, record.history) or 0.0
        for each, record in zip(all_candidates, records, strict=True)
    ]
    return [(each.spec.defense, score) for each, score in zip(all_candidates, scores, strict=True)]


def _make_scheduler(search: SettingsSearch, all_candidates: Sequence[Cell]) -> TrialScheduler:
    """Return the scheduler of a search over the epochs of its candidates."""
    if search.scheduler == "none":
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    longest = max(candidate.spec.defense.epochs for candidate in all_candidates)
    grace = min(search.grace_epochs, longest)
    return ASHAScheduler(time_attr=EPOCH, max_t=longest, grace_period=grace, reduction_factor=search.reduction)


def _name_trial(trial: Any) -> str:
    return str(trial.config["candidate"]).replace("/", "-")


def _train_candidate(cell: Cell, candidate: Cell, fit: FitOne, store: Store, resources: Resources) -> None:
    """Train a candidate unless its result is stored, and report its epochs to the scheduler."""
    record = read_candidate(cell, candidate, store)
    if record.state == "running":
        worker = _CandidateWorker(resources.gpu, cell, store)
        try:
            fit(candidate, store, worker, resources.loader_workers)
        except FloatingPointError as error:  # a search may try learning rates that are too high
            record = CandidateRecord("diverged", tuple(worker.history), str(error))
            write_candidate(cell, candidate, record, store)
        else:
            _report(read_candidate(cell, candidate, store).history[-1])
            return
    else:
        for epoch in record.history:
            _report(epoch)
    if record.state == "diverged":
        ray.tune.report({SCORE: 0.0, EPOCH: len(record.history) + 1})


def _report(epoch: Mapping[str, Any]) -> None:
    if epoch["score"] is not None:  # an epoch without validation has none
        ray.tune.report({SCORE: epoch["score"], EPOCH: epoch["epoch"]})


class _CandidateWorker(SoleWorker):
    """The process of a candidate, which reports each epoch to Ray Tune.

    The last epoch is reported by the caller, once the model is published: the scheduler may end the process there.
    """

    def __init__(self, gpu: bool, cell: Cell, store: Store) -> None:
        super().__init__(gpu)
        self.cell, self.store = cell, store
        self.history: list[dict[str, Any]] = []

    def report(self, cell: Cell, record: EpochRecord, save: Any) -> None:  # noqa: ARG002  it keeps no checkpoints
        """Store the epochs so far, and report the last one; this call does not return if the scheduler stops it."""
        self.history.append(asdict(record))
        write_candidate(self.cell, cell, CandidateRecord(history=tuple(self.history)), self.store)
        if record.epoch < cell.spec.defense.epochs:
            _report(self.history[-1])


class _StopRecorder(ray.tune.Callback):
    """A recorder of the candidates that the scheduler stops, so that no later run trains them again.

    Ray Tune pickles it, so it cannot hold the progress of the stage.
    """

    def __init__(self, cell: Cell, by_name: Mapping[str, Cell], store: Store) -> None:
        self.cell, self.by_name, self.store = cell, by_name, store

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        """Record a candidate that ended without a model."""
        candidate = self.by_name[trial.config["candidate"]]
        record = read_candidate(self.cell, candidate, self.store)
        if record.state == "running":
            write_candidate(self.cell, candidate, replace(record, state="stopped"), self.store)


def _publish_chosen(cell: Cell, all_candidates: Sequence[Cell], store: Store, progress: StageProgress) -> None:
    """Publish the candidate with the best robust accuracy among those that reached their last epoch.

    Candidates with equal robust accuracy, which few held-out tiles make likely, are compared by clean accuracy.
    """
    records = {each.key: read_candidate(cell, each, store) for each in all_candidates}
    scores = {each.key: rate_candidate(each, records[each.key].history) for each in all_candidates}
    for each in all_candidates:
        epochs, trained = each.spec.defense.epochs, len(records[each.key].history)
        if trained < epochs:
            progress.advance(epochs - trained, each)  # the epochs that it was spared
            progress.say(f"{each.name}: {records[each.key].state} after epoch {trained} of {epochs}")
    finished = [each for each in all_candidates if records[each.key].state == "finished"]
    if not finished:
        reasons = "; ".join(sorted({record.reason for record in records.values() if record.reason}))
        raise StageError(
            f"{cell.name}: none of {len(records)} candidates reached its last epoch ({reasons}); lower learning_rate "
            "in search.space"
        )
    best = max(
        finished,
        key=lambda each: (scores[each.key] or 0, records[each.key].history[-1]["validation_accuracy"] or 0),
    )
    facts = [
        {
            "key": each.key,
            "defense": each.spec.defense.model_dump(mode="json"),
            "state": records[each.key].state,
            "epochs": len(records[each.key].history),
            "score": scores[each.key],
            "reason": records[each.key].reason,
        }
        for each in all_candidates
    ]
    publish_choice(cell, best, facts, sum_costs(records, all_candidates, store), store)
    states = [record.state for record in records.values()]
    counts = ", ".join(f"{states.count(state)} {state}" for state in get_args(State) if state in states)
    progress.say(
        f"{cell.name}: {best.name} of {len(records)} candidates ({counts}), robust accuracy {scores[best.key]:.1%} on "
        "held-out tiles"
    )
