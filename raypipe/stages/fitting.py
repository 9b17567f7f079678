"""One fit, either in a Ray Train worker group or alone in the process of a Tune trial."""

import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from raypipe.models.checkpoint import ModelCard, load_classifier, save_classifier
from raypipe.models.classifier import Classifier
from raypipe.models.weights import find_head_parameters
from raypipe.plan.cells import Cell
from raypipe.stages.fit_files import get_progress_path, publish_model
from raypipe.stages.time_limit import limit_epochs
from raypipe.stages.workers import FitCheckpoint, Worker
from raypipe.storage.costs import Cost
from raypipe.storage.store import Store
from raypipe.training.batch_statistics import MOST, MOST_PER_EPOCH, Recalibration
from raypipe.training.dataset import TileDataset
from raypipe.training.examples import Examples
from raypipe.training.fit import EpochRecord, Fit
from raypipe.training.objective import TILES, InputRule, Objective, cross_entropy
from raypipe.training.recipe import Recipe
from raypipe.training.validation import validate


def fit_cell(
    cell: Cell,
    classifier: Classifier,
    card: ModelCard,
    examples: Examples,
    store: Store,
    worker: Worker,
    *,
    recipe: Recipe,
    loader_workers: int,
    held_out: Examples,
    judge: Callable[[Classifier], dict[str, float]] | None = None,
    objective: Objective = cross_entropy,
    input_rule: InputRule | None = TILES,
    score: Callable[[Classifier], float] | None = None,
    keeps_best: bool = True,
    replays: int = 1,
    probing: float = 0.0,
    time_limit: float | None = None,
) -> None:
    """Fit a classifier and publish it as the artifact of `cell`. Every worker of a group calls this function.

    Batch statistics are recomputed after the fit and before an epoch is validated or scored.

    Parameters
    ----------
    cell
        Cell to fit; its spec holds the seed.
    classifier
        Classifier that the fit starts from.
    card
        Card that is saved with the weights.
    examples
        All training tiles; the worker takes its share of them.
    recipe
        Recipe of the fit.
    loader_workers
        Number of processes that decode tiles for this worker.
    held_out
        Held-out tiles, which the fit does not use; epochs are validated on them, if there are any.
    judge
        Computes figures of the fitted classifier that are published with it; they serve to choose between candidates.
    objective
        Loss that every step minimizes.
    input_rule
        Inputs that a step shows the network; None leaves its batch statistics unchanged.
    score
        Rates the classifier after each validated epoch; larger is better.
    keeps_best
        True if the best of the rated epochs is published. Otherwise the last epoch is.
    replays
        Number of steps on each batch before the next batch.
    probing
        Share of the steps, in [0, 1), in which only the head learns.
    time_limit
        Time in seconds that the fit may take. Its number of epochs is then chosen at its beginning, at most that of
        `recipe`.
    """
    seed = cell.spec.seed
    share = examples.share(worker.rank, worker.world_size, seed)
    batch = max(2, recipe.batch_size // worker.world_size)
    if checkpoint := worker.find_last_checkpoint(cell):
        classifier = load_classifier(checkpoint.weights)[0]
    model = worker.prepare(classifier.to(memory_format=torch.channels_last))
    tiles = TileDataset(share.images, share.labels)
    validation = TileDataset(
        held_out.images[worker.rank :: worker.world_size], held_out.labels[worker.rank :: worker.world_size]
    )
    if time_limit:
        recipe = (
            _read_limited(cell, recipe, store)
            if checkpoint
            else limit_epochs(
                time_limit,
                model,
                recipe,
                tiles,
                validation,
                batch,
                worker=worker,
                objective=objective,
                input_rule=input_rule,
                replays=replays,
                score=score,
            )
        )
    steps = -(-len(share) // batch) - (len(share) % batch == 1)
    fit = Fit(
        model,
        recipe,
        steps,
        device=worker.device,
        seed=seed,
        rank=worker.rank,
        objective=objective,
        input_rule=input_rule,
        replays=replays,
        probing=probing,
        head=_list_head(card, probing),
    )
    best = b""
    if checkpoint:
        fit.restore(checkpoint.state)
        best = checkpoint.best
    if not checkpoint:  # the first sign of life, long before the first epoch is done
        _write_progress(cell, recipe, {"epoch": 0, "seconds": 0.0}, store, worker)
    for epoch in fit.epochs(tiles, batch, loader_workers):
        record = _sum_over_workers(epoch, worker)
        validates = recipe.validates(record.epoch)
        if len(held_out) and validates:
            record = _validate_epoch(record, fit, tiles, validation, worker)
        if score and validates:
            record = replace(record, score=_share_score(score, fit, worker))
            if keeps_best and record.score == _find_best_score([*fit.history, record]):
                best = save_classifier(_get_evaluated(fit), card)
        fit.history[-1] = record
        _write_progress(cell, recipe, asdict(record), store, worker)
        worker.report(cell, record, lambda: FitCheckpoint(save_classifier(classifier, card), fit.state(), best))  # noqa: B023
    _restore_best(fit, best)
    began = time.perf_counter()
    recalibration = _recalibrate(fit, tiles, MOST, worker)
    cost = _compute_cost(fit.history, recalibration, time.perf_counter() - began, worker)
    if worker.rank == 0:
        judged = judge and judge(_get_evaluated(fit))
        facts = _collect_facts(judged, card, held_out if recipe.validation else None, recalibration, input_rule)
        workers = worker.world_size
        publish_model(cell, _get_evaluated(fit), card, store, history=fit.history, cost=cost, workers=workers, **facts)
        store.remove(get_progress_path(cell))


def _restore_best(fit: Fit, best: bytes) -> None:
    """Give the evaluated model the weights of the best epoch, unless the last one is kept."""
    if best:
        fit.evaluated.load_state_dict(load_classifier(best)[0].state_dict())


def _list_head(card: ModelCard, probing: float) -> frozenset[str]:
    """Return the names of the head's parameters if a fit needs them; to find them, networks are built."""
    names = find_head_parameters(card.backbone, card.digest) if probing else ()
    return frozenset(f"network.{name}" for name in names)


def _read_limited(cell: Cell, recipe: Recipe, store: Store) -> Recipe:
    """Return a recipe with the number of epochs that an interrupted fit chose for its time limit."""
    epochs = store.read_json(get_progress_path(cell))["epochs"]
    return recipe.model_copy(update={"epochs": epochs})


def _write_progress(cell: Cell, recipe: Recipe, record: dict[str, Any], store: Store, worker: Worker) -> None:
    """Write down how far the fit has come, for those who watch; only the first worker of the group does."""
    if worker.rank == 0:
        where = {"name": cell.name, "epochs": recipe.epochs, "host": socket.gethostname(), "pid": os.getpid()}
        store.write_json(get_progress_path(cell), {**where, **record})


def _collect_facts(
    judged: dict[str, float] | None,
    card: ModelCard,
    held_out: Examples | None,
    recalibration: Recalibration,
    input_rule: InputRule | None,
) -> dict[str, Any]:
    """Return a fit's own figures, and the facts of its held-out tiles and of its batch statistics."""
    facts: dict[str, Any] = {"validation": judged} if judged else {}
    if held_out is not None:
        missing = [name for label, name in enumerate(card.labels) if label not in held_out.labels]
        facts["held_out"] = {"tiles": len(held_out), "groups": len(set(held_out.groups)), "missing": missing}
    if recalibration.tiles and input_rule:
        facts["batch_statistics"] = {"tiles": recalibration.tiles, "inputs": input_rule.inputs}
    return facts


def _get_evaluated(fit: Fit) -> Classifier:
    model = fit.evaluated
    assert isinstance(model, Classifier)  # noqa: S101  for the type checker
    return model


def _share_score(score: Callable[[Classifier], float], fit: Fit, worker: Worker) -> float:
    """Return the score of the evaluated model; one worker computes it for all."""
    value = score(_get_evaluated(fit)) if worker.rank == 0 else 0.0
    return float(worker.total(torch.tensor(value, dtype=torch.float64)))


def _find_best_score(history: Sequence[EpochRecord]) -> float:
    return max(record.score or 0 for record in history)


def _sum_over_workers(record: EpochRecord, worker: Worker) -> EpochRecord:
    """Return the epoch's record over the tiles of all workers."""
    weighted_sums = [record.loss * record.tiles, record.accuracy * record.tiles]
    sums = worker.total(
        torch.tensor([*weighted_sums, record.tiles, record.forwards, record.backwards], dtype=torch.float64)
    )
    loss, accuracy, tiles, forwards, backwards = sums.tolist()
    return replace(
        record,
        loss=loss / tiles,
        accuracy=accuracy / tiles,
        tiles=int(tiles),
        forwards=int(forwards),
        backwards=int(backwards),
    )


def _recalibrate(fit: Fit, tiles: TileDataset, most: int, worker: Worker) -> Recalibration:
    """Recompute the batch statistics from the tiles of all workers; the passes are summed over all workers."""
    recalibration = fit.recalibrate(tiles, most // worker.world_size, worker.total)
    return Recalibration(*(int(count) for count in worker.total(torch.tensor(recalibration, dtype=torch.float64))))


def _validate_epoch(
    record: EpochRecord, fit: Fit, tiles: TileDataset, validation: TileDataset, worker: Worker
) -> EpochRecord:
    """Recompute the evaluated model's batch statistics; return the record with its figures on held-out tiles."""
    began = time.perf_counter()
    recalibration = _recalibrate(fit, tiles, MOST_PER_EPOCH, worker)
    loss, correct, count = worker.total(validate(fit.evaluated, validation, worker.device)).tolist()
    return replace(
        record,
        forwards=record.forwards + recalibration.forwards + int(count),
        backwards=record.backwards + recalibration.backwards,
        seconds=record.seconds + time.perf_counter() - began,
        validation_loss=loss / count,
        validation_accuracy=correct / count,
    )


def _compute_cost(history: Sequence[EpochRecord], recalibration: Recalibration, seconds: float, worker: Worker) -> Cost:
    return Cost(
        forwards=sum(record.forwards for record in history) + recalibration.forwards,
        backwards=sum(record.backwards for record in history) + recalibration.backwards,
        seconds=(sum(record.seconds for record in history) + seconds) * worker.world_size,
        device=worker.device.type,
    )
