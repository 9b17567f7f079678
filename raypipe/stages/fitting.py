"""One fit, wherever it runs: in a Ray Train worker group, or alone in the process of a Tune trial."""

import json
import os
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import ray.train
import ray.train.torch
import torch
from pydantic import TypeAdapter
from ray.train import Checkpoint
from torch import nn

from raypipe.cells import Cell
from raypipe.costs import FREE, Cost
from raypipe.models.checkpoint import FILE_NAME, ModelCard, load_classifier, save_classifier
from raypipe.models.classifier import Classifier
from raypipe.stages.cluster import own_device
from raypipe.store import Store
from raypipe.training.examples import Examples
from raypipe.training.fit import EpochRecord, Fit, TileDataset, memory_format
from raypipe.training.objective import Objective, cross_entropy
from raypipe.training.recipe import Recipe

FIT_STATE = "fit.pt"
BEST = "best.safetensors"
CELL_KEY = "cell.json"


@dataclass(frozen=True)
class Saved:
    """Where an interrupted fit can go on: the weights, the rest of its state, and the best epoch's weights."""

    weights: bytes
    state: bytes
    best: bytes = b""


class Worker(Protocol):
    """What a fit needs to know of the process it runs in."""

    rank: int
    world_size: int
    device: torch.device

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model on the device, synchronised with the other workers' copies."""

    def mean(self, record: EpochRecord) -> EpochRecord:
        """The epoch's figures over all workers' tiles."""

    def saved(self, cell: Cell) -> Saved | None:
        """What an earlier, interrupted try at this cell left."""

    def report(self, cell: Cell, record: EpochRecord, save: Callable[[], Saved]) -> None:
        """Tell Ray of a finished epoch, and keep what is needed to go on from it."""


class GroupWorker:
    """One of the workers of a Ray Train group, fitting with DDP."""

    def __init__(self, gpu: bool) -> None:
        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        own_device(gpu)
        self.device: torch.device = ray.train.torch.get_device() if gpu else torch.device("cpu")

    def prepare(self, model: nn.Module) -> nn.Module:
        """Move to this worker's device; wrap for DDP if there are several workers."""
        options = {"gradient_as_bucket_view": True}  # what is exchanged is what was computed, without a copy
        prepared: nn.Module = ray.train.torch.prepare_model(
            model, move_to_device=self.device, parallel_strategy_kwargs=options
        )
        return prepared

    def mean(self, record: EpochRecord) -> EpochRecord:
        """Loss and accuracy weighted by each worker's tiles."""
        if self.world_size == 1:
            return record
        weighted = [record.loss * record.tiles, record.accuracy * record.tiles]
        counted = [float(count) for count in (record.tiles, record.forwards, record.backwards)]
        sums = torch.tensor([*weighted, *counted], device=self.device)
        torch.distributed.all_reduce(sums)
        loss, accuracy, tiles, forwards, backwards = sums.tolist()
        return replace(
            record,
            loss=loss / tiles,
            accuracy=accuracy / tiles,
            tiles=int(tiles),
            forwards=int(forwards),
            backwards=int(backwards),
        )

    def saved(self, cell: Cell) -> Saved | None:
        """From Ray Train's last committed checkpoint, if it is of this cell."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        with checkpoint.as_directory() as directory:
            folder = Path(directory)
            if json.loads((folder / CELL_KEY).read_text())["key"] != cell.key:
                return None
            return Saved(*((folder / name).read_bytes() for name in (FILE_NAME, FIT_STATE, BEST)))

    def report(self, cell: Cell, record: EpochRecord, save: Callable[[], Saved]) -> None:
        """A checkpoint from rank 0; every rank reports, as Ray Train demands."""
        metrics = {"cell": cell.name, **asdict(record)}
        name = f"{cell.name.replace('/', '-')}-epoch_{record.epoch:04d}"
        if self.rank != 0:
            ray.train.report(metrics, checkpoint_dir_name=name)
            return
        with tempfile.TemporaryDirectory() as directory:
            folder, saved = Path(directory), save()
            (folder / CELL_KEY).write_text(json.dumps({"key": cell.key}))
            (folder / FILE_NAME).write_bytes(saved.weights)
            (folder / FIT_STATE).write_bytes(saved.state)
            (folder / BEST).write_bytes(saved.best)
            ray.train.report(metrics, checkpoint=Checkpoint.from_directory(directory), checkpoint_dir_name=name)


class SoleWorker:
    """The only worker, in the process that calls it: Ray Train's local mode, whose context Tune hides within a trial.

    It keeps no checkpoints: a fit that is lost starts anew.
    """

    rank = 0
    world_size = 1

    def __init__(self, gpu: bool) -> None:
        self.device = own_device(gpu)

    def prepare(self, model: nn.Module) -> nn.Module:
        """Move to the device."""
        return model.to(self.device)

    def mean(self, record: EpochRecord) -> EpochRecord:
        """There is nobody to average with."""
        return record

    def saved(self, cell: Cell) -> Saved | None:  # noqa: ARG002  the protocol's
        """Nothing was kept."""
        return None

    def report(self, cell: Cell, record: EpochRecord, save: Callable[[], Saved]) -> None:
        """Progress is read from the store, and nothing is kept."""


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
    judge: Callable[[Classifier], dict[str, float]] | None = None,
    objective: Objective = cross_entropy,
    score: Callable[[Classifier], float] | None = None,
    replays: int = 1,
) -> None:
    """Fit a classifier and publish it as the artifact of `cell`. Every worker of a group calls this.

    Parameters
    ----------
    cell
        Its spec has the seed.
    classifier
        What the fit starts from.
    card
        Saved with the weights.
    examples
        All training tiles; the worker takes its share.
    recipe
        How to fit.
    loader_workers
        Processes that decode tiles for this worker.
    judge
        Figures of the fitted classifier to publish with it, for whoever chooses between candidates.
    objective
        What every step minimises.
    score
        How good the classifier is after an epoch: the best epoch is published instead of the last.
    replays
        How often each batch is used before the next one.
    """
    seed = cell.spec.seed
    share = examples.share(worker.rank, worker.world_size, seed)
    batch = max(2, recipe.batch_size // worker.world_size)
    if saved := worker.saved(cell):
        classifier = load_classifier(saved.weights)[0]
    model = worker.prepare(classifier.to(memory_format=memory_format(worker.device)))
    steps = -(-len(share) // batch) - (len(share) % batch == 1)
    fit = Fit(
        model,
        recipe,
        steps,
        device=worker.device,
        seed=seed,
        rank=worker.rank,
        objective=objective,
        replays=replays,
    )
    best = b""
    if saved:
        fit.restore(saved.state)
        best = saved.best
    for epoch in fit.epochs(TileDataset(share.images, share.labels), batch, loader_workers):
        fit.history[-1] = record = worker.mean(epoch)
        if score and worker.rank == 0:
            fit.history[-1] = record = replace(record, score=score(classifier.eval()))
            if record.score == max(earlier.score or 0 for earlier in fit.history):
                best = save_classifier(classifier, card)
        if worker.rank == 0:
            where = {"host": socket.gethostname(), "pid": os.getpid()}
            store.write_json(
                _progress_path(cell), {"name": cell.name, "epochs": recipe.epochs, **where, **asdict(record)}
            )
        worker.report(cell, record, lambda: Saved(save_classifier(classifier, card), fit.state(), best))  # noqa: B023
    if worker.rank == 0:
        if best:
            classifier = load_classifier(best)[0].to(worker.device)
        facts: dict[str, Any] = {"validation": judge(classifier)} if judge else {}
        cost = _cost(fit.history, worker)
        publish_model(cell, classifier, card, store, history=fit.history, cost=cost, workers=worker.world_size, **facts)
        store.remove(_progress_path(cell))


def publish_model(
    cell: Cell,
    classifier: Classifier,
    card: ModelCard,
    store: Store,
    *,
    history: Sequence[EpochRecord] = (),
    cost: Cost = FREE,
    **facts: Any,
) -> None:
    """Keep a classifier as the artifact of `cell`, with how it was fitted and other facts."""
    store.write_bytes(f"{store.artifact(cell.kind, cell.key)}/{FILE_NAME}", save_classifier(classifier, card))
    described = TypeAdapter(ModelCard).dump_python(card, mode="json")
    cell.publish(store, card=described, history=[asdict(record) for record in history], cost=cost.facts(), **facts)


def _cost(history: Sequence[EpochRecord], worker: Worker) -> Cost:
    forwards, backwards = (sum(getattr(record, name) for record in history) for name in ("forwards", "backwards"))
    seconds = sum(record.seconds for record in history) * worker.world_size
    return Cost(forwards=forwards, backwards=backwards, seconds=seconds, device=worker.device.type)


def last_epoch(store: Store, cell: Cell) -> dict[str, Any] | None:
    """How far a fit has come: as it wrote to the store while running, or as its artifact says."""
    if manifest := cell.manifest(store):
        history = manifest["history"]
        if not history:
            return None
        return {"name": cell.name, "epochs": len(history), **history[-1]}
    path = _progress_path(cell)
    return store.read_json(path) if store.exists(path) else None


def _progress_path(cell: Cell) -> str:
    return f"progress/{cell.key}.json"
