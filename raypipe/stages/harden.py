"""The harden stage: Ray Tune runs the grid of (backbone, attack, defense); each trial fits a model with Ray Train."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import ray.tune
import torch
from numpy.typing import NDArray

from raypipe.base.errors import StageError
from raypipe.data.reading.png import decode_png
from raypipe.data.subset import choose_subset
from raypipe.defenses.base import StaticTraining, TrainingSteps
from raypipe.evaluation.judge import measure_robust_accuracy
from raypipe.evaluation.predict import predict
from raypipe.execution.forecast.defense_work import count_hardening_steps
from raypipe.experiment.schema import Resources
from raypipe.models.artifacts import load_model
from raypipe.models.backbones.lookup import get_backbone
from raypipe.models.checkpoint import ModelCard
from raypipe.models.classifier import Classifier, build_classifier
from raypipe.plan.cells import Cell, HardenSpec, find_unfinished, find_unfinished_fits, list_candidates
from raypipe.progress.stage import StageProgress
from raypipe.stages.choice import publish_best
from raypipe.stages.claims import fit_unclaimed
from raypipe.stages.failures import describe_cause, find_root_cause, name_cell_in_errors
from raypipe.stages.fit_files import publish_model
from raypipe.stages.fitting import fit_cell
from raypipe.stages.placement import find_room, list_needs
from raypipe.stages.search import is_search, search_settings
from raypipe.stages.trials import configure_trials
from raypipe.stages.watch import watch_fits
from raypipe.stages.worker_group import fit_in_group
from raypipe.stages.workers import Worker
from raypipe.storage.store import Store
from raypipe.training.examples import Examples, read_examples

SCRATCH = "scratch/tune"
WAITING_TRIAL: dict[str, float] = {"CPU": 0, "memory": 64 * 2**20}
"""Resources of a trial that only waits for its worker group. Even the smallest share of a CPU would keep the group from
taking all CPUs, and Ray would wait forever. Ray refuses a trial without any resource, so the trial takes memory."""
JUDGE_BATCH = 64


def harden(cells: Sequence[Cell], store: Store, resources: Resources, progress: StageProgress) -> None:
    """Harden the models of `cells`: fit every candidate, and publish the best one of each cell.

    Raises
    ------
    StageError
        If a trial fails; the other trials are finished and their models are kept.
    """
    missing = find_unfinished(cells, store)
    searches = [cell for cell in missing if is_search(cell)]
    todo = find_unfinished_fits([cell for cell in missing if not is_search(cell)], store)
    fits = _sort_longest_first([cell for cell in todo if cell.spec.defense.epochs], store)

    def fit(own: Sequence[Cell]) -> None:
        _run_trials(own, store, resources, progress)

    def search(own: Sequence[Cell]) -> None:
        for cell in own:
            search_settings(cell, _harden_cell, store, resources, progress)

    try:
        with watch_fits([*fits, *find_unfinished_fits(searches, store)], missing, store, progress):
            for cell in todo:
                if not cell.spec.defense.epochs:
                    publish_model(cell, *_load_starting_point(cell, store), store)
            fit_unclaimed(fits, store, fit, progress.say)
            for cell in searches:
                fit_unclaimed([cell], store, search, progress.say)
            for cell in find_unfinished(cells, store):
                publish_best(cell, store, progress)
    except StageError:
        progress.fail(
            *(cell for cell in find_unfinished(cells, store) if find_unfinished(list_candidates(cell), store))
        )
        raise


def _sort_longest_first(cells: Sequence[Cell], store: Store) -> list[Cell]:
    """Return cells in the order of their work, so that no long fit is left over when all others are done."""

    def count_steps(cell: Cell) -> float:
        counts = (cell.inputs["tiles"].manifest(store) or {})["counts"]
        return count_hardening_steps(cell, sum(counts["train"].values()))

    return sorted(cells, key=count_steps, reverse=True)


def _run_trials(todo: Sequence[Cell], store: Store, resources: Resources, progress: StageProgress) -> None:
    by_name = {cell.name: cell for cell in todo}
    name = f"harden-{hashlib.sha256(' '.join(cell.key for cell in todo).encode()).hexdigest()[:20]}"
    resources = resources.for_group(resources.harden_workers)
    trained = 0 if resources.train_workers == "auto" else resources.train_workers
    several = max(trained, resources.harden_workers)  # trials at once, on training's resources
    room = find_room(resources, ask=several or None, on=resources.train_on, say=progress.say)
    workers = min(resources.harden_workers, room)
    at_once = room // max(1, workers)
    fits_itself = list_needs(resources, resources.train_on)

    def trial(config: dict[str, Any]) -> None:
        cell = by_name[config["cell"]]
        try:
            with name_cell_in_errors(cell):
                fit_in_group(_harden_cell, [cell], store, resources, workers)
        except StageError as error:
            own = error.__cause__ if isinstance(error.__cause__, StageError) else error  # what is kept is said below
            raise own from None
        manifest = cell.manifest(store) or {}
        ray.tune.report({"training_accuracy": manifest["history"][-1]["accuracy"], **manifest.get("validation", {})})

    results = ray.tune.Tuner(
        ray.tune.with_resources(trial, WAITING_TRIAL if workers else fits_itself),
        param_space={"cell": ray.tune.grid_search(list(by_name))},
        tune_config=ray.tune.TuneConfig(
            reuse_actors=True,
            max_concurrent_trials=max(1, at_once),
            trial_name_creator=_name_trial,
            trial_dirname_creator=_name_trial,
        ),
        run_config=configure_trials(name, SCRATCH, store),
    ).fit()
    if results.errors:
        names = ", ".join(cell.name for cell in find_unfinished(todo, store))
        why = describe_cause(results.errors[0])
        raise StageError(
            f"hardening failed with {names} unfinished: {why}; finished models are kept, run again to continue"
        ) from find_root_cause(results.errors[0])
    store.remove(f"{SCRATCH}/{name}")


def _name_trial(trial: Any) -> str:
    return str(trial.config["cell"]).replace("/", "-")


def _load_starting_point(cell: Cell, store: Store) -> tuple[Classifier, ModelCard]:
    """Return the model to harden, with the architecture and the input transform of the defense.

    It is the undefended model, or the model that its training started from.
    """
    defense, model_cell = cell.spec.defense, cell.inputs["model"]
    classifier, card = load_model(store, model_cell.key)
    torch.manual_seed(cell.spec.seed)  # for the weights of new layers
    if defense.starts_anew:
        classifier = build_classifier(model_cell.spec.model, len(card.labels))
    network, backbone, input_transform = (
        classifier.network,
        defense.choose_architecture(card.backbone),
        defense.build_input_transform(),
    )
    if backbone != card.backbone:
        network = get_backbone(backbone).build(len(card.labels))
        network.load_state_dict(network.state_dict() | classifier.network.state_dict())
    hardened = Classifier(network, *classifier.normalization, input_transform, classifier.resize)
    return hardened.eval(), replace(card, backbone=backbone, input_transform=input_transform)


def _harden_cell(cell: Cell, store: Store, worker: Worker, loader_workers: int) -> None:
    defense, seed = cell.spec.defense, cell.spec.seed
    parts = {"clean": read_examples(store, "tiles", cell.inputs["tiles"].key, "train")}
    if isinstance(defense, StaticTraining):
        parts["perturbed"] = _read_perturbed(cell, parts["clean"], store)
    # Hold out the same groups as training did, because the undefended model has never seen them either.
    sides = {name: examples.hold_out(cell.spec.recipe.validation, seed) for name, examples in parts.items()}
    parts = {name: training for name, (training, _) in sides.items()}
    held_out = {name: examples for name, (_, examples) in sides.items()}
    if (defense.needs_held_out or cell.spec.judge) and not len(held_out["clean"]):
        raise StageError(
            f"{cell.name}: {defense.name} compares on held-out tiles, but every class has a single group of training "
            "tiles; add tiles of other groups, or leave out early_stopping and search"
        )

    def judge(classifier: Classifier) -> dict[str, float]:
        return {name: _measure_accuracy(classifier, examples, worker) for name, examples in held_out.items()}

    clean, _ = load_model(store, cell.inputs["model"].key)
    examples = parts["clean"]
    if isinstance(defense, StaticTraining):
        of_clean, of_perturbed = defense.choose(len(examples), seed)
        examples = examples.take(of_clean).join(parts["perturbed"].take(of_perturbed))
    recipe = defense.adapt_recipe(cell.spec.recipe)
    start, card = _load_starting_point(cell, store)
    steps = defense.prepare_training(clean.to(worker.device), recipe, start.to(worker.device))
    fit_cell(
        cell,
        start,
        card,
        examples,
        store,
        worker,
        recipe=recipe,
        loader_workers=loader_workers,
        held_out=held_out["clean"],
        judge=judge if "perturbed" in held_out and len(held_out["clean"]) else None,
        objective=steps.objective,
        input_rule=steps.inputs,
        score=_choose_score(cell.spec, steps, held_out["clean"], worker),
        keeps_best=steps.score is not None,
        replays=steps.repeats,
        probing=steps.probing,
        time_limit=defense.time_limit,
    )


def _choose_score(
    spec: HardenSpec, steps: TrainingSteps, held_out: Examples, worker: Worker
) -> Callable[[Classifier], float] | None:
    """Return the function that rates an epoch on held-out tiles, or None if no epoch is rated."""
    if attack := spec.judge:
        chosen = held_out
        if spec.judged_tiles:
            chosen = held_out.take(choose_subset(held_out.labels, held_out.groups, spec.judged_tiles, spec.seed))
        images, labels = _read_images(chosen), np.array(chosen.labels)
        return lambda classifier: measure_robust_accuracy(classifier, images, labels, attack, worker.device)
    rate = steps.score
    return rate and (lambda classifier: float(rate(classifier, _read_images(held_out), np.array(held_out.labels))))


def _read_perturbed(cell: Cell, clean: Examples, store: Store) -> Examples:
    """Return every training tile perturbed by the cell's attack, or by a random one of its attacks."""
    keys = [input_cell.key for input_cell in cell.inputs.values() if input_cell.stage == "attack"]
    examples = [read_examples(store, "adversarials", key) for key in keys]
    for key, perturbed in zip(keys, examples, strict=True):
        if clean.sample_ids != perturbed.sample_ids:
            raise StageError(
                f"{cell.name}: the perturbed training tiles are not those of the clean ones; remove the artifact "
                f"adversarials/{key} and run again"
            )
    choice = np.random.default_rng(cell.spec.seed).integers(len(examples), size=len(clean))
    images = tuple(examples[attack].images[tile] for tile, attack in enumerate(choice))
    return replace(clean, images=images)


def _measure_accuracy(classifier: Classifier, examples: Examples, worker: Worker) -> float:
    logits = predict(classifier, _read_images(examples), JUDGE_BATCH, worker.device)
    return float((logits.argmax(1) == np.array(examples.labels)).mean())


def _read_images(examples: Examples) -> NDArray[np.uint8]:
    return np.stack([decode_png(image) for image in examples.images])
