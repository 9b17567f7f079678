"""The train stage: Ray Train fine-tunes every backbone on the clean training tiles, with DDP over its workers.

Without workers to share a fit, each backbone is fitted in one process, beside the others.
"""

from collections.abc import Sequence

import torch

from raypipe.base.errors import StageError
from raypipe.experiment.schema import Resources
from raypipe.models.checkpoint import ModelCard
from raypipe.models.classifier import build_classifier
from raypipe.models.weights import load_pretrained_state
from raypipe.plan.cells import Cell, find_unfinished
from raypipe.plan.train_workers import choose_train_workers
from raypipe.progress.stage import StageProgress
from raypipe.stages.claims import fit_unclaimed
from raypipe.stages.fitting import fit_cell
from raypipe.stages.placement import find_room
from raypipe.stages.side_by_side import fit_side_by_side
from raypipe.stages.watch import watch_fits
from raypipe.stages.worker_group import fit_in_group
from raypipe.stages.workers import Worker
from raypipe.storage.store import Store
from raypipe.training.examples import read_examples
from raypipe.training.objective import smoothed_cross_entropy


def train(cells: Sequence[Cell], store: Store, resources: Resources, progress: StageProgress) -> None:
    """Train the models of `cells`, and publish each as soon as it is trained.

    Raises
    ------
    raypipe.base.errors.StageError
        If training fails more often than `resources.max_failures`, or no worker fits on the cluster.
    raypipe.models.state_files.WeightsError
        If pretrained weights are not available; it is raised before any worker starts.
    """
    for cell in cells:
        load_pretrained_state(cell.spec.model.name, cell.spec.model.weights)
    todo = find_unfinished(cells, store)
    wanted = _choose_workers(todo, resources, progress)
    resources = resources.for_group(wanted)

    def fit(own: Sequence[Cell]) -> None:
        if wanted:
            workers = find_room(resources, wanted, on=resources.train_on, say=progress.say)
            others = {cell.key for cell in find_unfinished(cells, store)} - {cell.key for cell in own}
            group = [cell for cell in cells if cell.key not in others]  # all, if nobody else trains: see `fit_in_group`
            fit_in_group(_train_cell, group, store, resources, workers)
        else:
            fit_side_by_side(_train_cell, own, store, resources, progress.say)

    try:
        with watch_fits(todo, todo, store, progress):
            fit_unclaimed(todo, store, fit, progress.say)
        for cell in todo:
            held_out = (cell.manifest(store) or {}).get("held_out", {})
            if missing := held_out.get("missing"):
                progress.say(f"{cell.name}: no validation tiles of {', '.join(missing)}; each has a single group")
    except StageError:
        progress.fail(*find_unfinished(todo, store)[:1])  # the other cells were never started
        raise


def _choose_workers(todo: Sequence[Cell], resources: Resources, progress: StageProgress) -> int:
    """Return the number of DDP workers, or 0 for trainings side by side."""
    if resources.train_workers != "auto":
        return resources.train_workers
    room = find_room(resources, ask=len(todo), on=resources.train_on, say=progress.say)
    first = todo[0]
    workers, reason = choose_train_workers(
        len(todo), room, first.spec.recipe.batch_size, first.inputs["tiles"].spec.size
    )
    progress.say(reason)
    return workers


def _train_cell(cell: Cell, store: Store, worker: Worker, loader_workers: int) -> None:
    tiles, model = cell.inputs["tiles"], cell.spec.model
    labels = tiles.spec.labels
    torch.manual_seed(cell.spec.seed)  # for the weights of the new layers
    classifier = build_classifier(model, len(labels))
    card = ModelCard(
        model.name, labels, tiles.spec.size, *classifier.normalization, resize=model.resize, digest=model.digest
    )
    recipe = cell.spec.recipe
    examples, held_out = read_examples(store, "tiles", tiles.key, "train").hold_out(recipe.validation, cell.spec.seed)
    fit_cell(
        cell,
        classifier,
        card,
        examples,
        store,
        worker,
        recipe=recipe,
        loader_workers=loader_workers,
        held_out=held_out,
        objective=smoothed_cross_entropy(recipe.label_smoothing),
    )
