"""Harden: Ray Tune over the grid of (backbone, attack, defense); each trial fine-tunes a clean model by Ray Train."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import ray.tune
from ray.tune.integration.ray_train import TuneReportCallback

from raypipe.cells import Cell, candidates
from raypipe.config import Resources
from raypipe.data.images import decode_png
from raypipe.errors import StageError
from raypipe.evaluation.predict import predict
from raypipe.models.checkpoint import FILE_NAME, ModelCard
from raypipe.models.classifier import Classifier
from raypipe.stages.cluster import capacity
from raypipe.stages.fitting import Worker, fit_cell, publish_model
from raypipe.stages.loaded import load_model
from raypipe.stages.watch import watched
from raypipe.stages.worker_group import fit_in_group
from raypipe.store import Store
from raypipe.telemetry.stage import StageProgress
from raypipe.training.examples import Examples, read_examples

SCRATCH = "scratch/tune"
WAITING_TRIAL: dict[str, float] = {"CPU": 0, "memory": 64 * 2**20}
"""Of a trial that only waits for its worker group. The least share of a CPU would keep the group from taking all of
them, and Ray would wait for ever; a trial without any resource is refused."""
JUDGE_BATCH = 64


def harden(cells: Sequence[Cell], store: Store, resources: Resources, progress: StageProgress) -> None:
    """Harden the models of `cells`: fit every candidate, and publish for each cell the best.

    Raises
    ------
    StageError
        If a trial fails; the others are finished and kept.
    """
    todo = [candidate for cell in cells for candidate in candidates(cell) if not candidate.manifest(store)]
    for cell in todo:
        if not cell.spec.defense.epochs:
            publish_model(cell, *_starting_point(cell, store), store)
    if fits := [cell for cell in todo if cell.spec.defense.epochs]:
        with watched(fits, store, progress):
            _run_trials(fits, store, resources)
    for cell in cells:
        if not cell.manifest(store):
            _publish_best(cell, store, progress)


def _run_trials(todo: Sequence[Cell], store: Store, resources: Resources) -> None:
    by_name = {cell.name: cell for cell in todo}
    name = hashlib.sha256(" ".join(cell.key for cell in todo).encode()).hexdigest()[:20]
    room = capacity()
    workers = min(resources.harden_workers, room.workers(resources, max(1, resources.harden_workers)))
    at_once = room.workers(resources) // max(1, workers)
    fits_itself: dict[str, float] = {"CPU": resources.cpus_per_worker, "GPU": 1 if resources.gpu else 0}

    def trial(config: dict[str, Any]) -> None:
        cell = by_name[config["cell"]]
        callbacks = [TuneReportCallback()] if workers else []  # type: ignore[no-untyped-call]
        fit_in_group(_harden_cell, [cell], store, resources, workers, callbacks)
        manifest = cell.manifest(store) or {}
        ray.tune.report({"training_accuracy": manifest["history"][-1]["accuracy"], **manifest.get("validation", {})})

    results = ray.tune.Tuner(
        ray.tune.with_resources(trial, WAITING_TRIAL if workers else fits_itself),
        param_space={"cell": ray.tune.grid_search(list(by_name))},
        tune_config=ray.tune.TuneConfig(
            reuse_actors=True,
            max_concurrent_trials=max(1, at_once),
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=ray.tune.RunConfig(
            name=name,
            storage_path=store.path(SCRATCH),
            storage_filesystem=store.filesystem,
            verbose=0,
            failure_config=ray.tune.FailureConfig(max_failures=1),
        ),
    ).fit()
    if results.errors:
        unfinished = ", ".join(cell.name for cell in todo if not cell.manifest(store))
        cause = str(results.errors[0]).strip().splitlines()[-1]
        raise StageError(
            f"hardening failed with {unfinished} unfinished: {cause}; finished models are kept, run again to go on"
        ) from results.errors[0]
    store.remove(f"{SCRATCH}/{name}")


def _trial_name(trial: Any) -> str:
    return str(trial.config["cell"]).replace("/", "-")


def _starting_point(cell: Cell, store: Store) -> tuple[Classifier, ModelCard]:
    """The clean model, behind the layer that the defense puts before it."""
    classifier, card = load_model(store, cell.inputs["model"].key)
    front = cell.spec.defense.front()
    return Classifier(classifier.network, *classifier.normalization, front).eval(), replace(card, front=front)


def _harden_cell(cell: Cell, store: Store, worker: Worker, loader_workers: int) -> None:
    defense, seed = cell.spec.defense, cell.spec.seed
    parts = {"clean": read_examples(store, "tiles", cell.inputs["tiles"].key, "train")}
    if defense.learns_from_adversarials:
        parts["perturbed"] = _perturbed(cell, parts["clean"], store)
    held: dict[str, Examples] = {}
    if cell.spec.held_out:
        kept, held_out = parts["clean"].split_by_group(cell.spec.held_out, seed)
        held = {name: examples.take(held_out) for name, examples in parts.items()}
        parts = {name: examples.take(kept) for name, examples in parts.items()}

    def judge(fitted: Classifier) -> dict[str, float]:
        return {name: _accuracy(fitted, examples, worker) for name, examples in held.items()}

    of_clean, of_perturbed = defense.choose(len(parts["clean"]), seed)
    examples = parts["clean"].take(of_clean)
    if defense.learns_from_adversarials:
        examples = examples.joined(parts["perturbed"].take(of_perturbed))
    fit_cell(
        cell,
        *_starting_point(cell, store),
        examples,
        store,
        worker,
        recipe=defense.recipe(cell.spec.recipe),
        loader_workers=loader_workers,
        judge=judge if held else None,
    )


def _perturbed(cell: Cell, clean: Examples, store: Store) -> Examples:
    key = cell.inputs["adversarials"].key
    perturbed = read_examples(store, "adversarials", key)
    if clean.sample_ids != perturbed.sample_ids:
        raise StageError(
            f"{cell.name}: the perturbed training tiles are not those of the clean ones; remove the artifact "
            f"adversarials/{key} and run again"
        )
    return perturbed


def _accuracy(classifier: Classifier, examples: Examples, worker: Worker) -> float:
    images = np.stack([decode_png(image) for image in examples.images])
    logits = predict(classifier, images, JUDGE_BATCH, worker.device)
    return float((logits.argmax(1) == np.array(examples.labels)).mean())


def _publish_best(cell: Cell, store: Store, progress: StageProgress) -> None:
    """Of several candidates, the one with the best mean accuracy on clean and perturbed held-out tiles."""
    judged = {candidate.key: (candidate, candidate.manifest(store) or {}) for candidate in candidates(cell)}
    best, manifest = max(judged.values(), key=lambda pair: np.mean(list(pair[1]["validation"].values())))
    weights = store.read_bytes(f"{store.artifact(best.kind, best.key)}/{FILE_NAME}")
    store.write_bytes(f"{store.artifact(cell.kind, cell.key)}/{FILE_NAME}", weights)
    tried = [
        {"key": key, "defense": candidate.spec.defense.model_dump(mode="json"), "validation": facts["validation"]}
        for key, (candidate, facts) in judged.items()
    ]
    cell.publish(store, card=manifest["card"], history=manifest["history"], chosen=best.key, candidates=tried)
    progress.say(f"{cell.name}: {best.name} of {len(tried)} candidates, held-out {manifest['validation']}")
