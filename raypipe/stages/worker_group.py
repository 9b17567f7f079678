"""Ray Train worker groups. One group fits a list of cells in turn: a group's start costs more than a small fit."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback

from raypipe.base.errors import StageError
from raypipe.experiment.schema import Resources
from raypipe.plan.cells import Cell, find_unfinished
from raypipe.stages.failures import describe_cause, find_root_cause, name_cell_in_errors
from raypipe.stages.placement import list_needs
from raypipe.stages.workers import GroupWorker, SoleWorker, Worker
from raypipe.storage.store import Store

SCRATCH = "scratch/train"
# This is the interval at which Ray Train's controller collects reports. A checkpoint counts only after that. With the
# default of 2 s, a lost worker loses all epochs of its last 2 s.
COLLECT_SECONDS = ("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.25")

FitOne = Callable[[Cell, Store, Worker, int], None]
"""Function that fits and publishes one cell: ``(cell, store, worker, loader_workers)``."""


@dataclass(frozen=True)
class _Work:
    fit: FitOne
    cells: tuple[Cell, ...]
    store: Store
    loader_workers: int
    sole: bool
    gpu: bool


def fit_in_group(
    fit: FitOne,
    cells: Sequence[Cell],
    store: Store,
    resources: Resources,
    workers: int,
) -> None:
    """Fit cells one after the other with `workers` DDP workers, and skip those that are published already.

    Parameters
    ----------
    fit
        Function that every worker calls for each cell.
    cells
        Cells that together name the run. Called again with the same cells, an interrupted run continues from its last
        epoch.
    workers
        Number of workers; 0 fits in the calling process.

    Raises
    ------
    StageError
        If a fit fails more often than `resources.max_failures`.
    """
    os.environ.setdefault(*COLLECT_SECONDS)
    title = cells[0].name.replace("/", "-") if len(cells) == 1 else cells[0].stage
    name = f"{title}-{hashlib.sha256(' '.join(cell.key for cell in cells).encode()).hexdigest()[:20]}"
    per_worker = list_needs(resources, resources.train_on)
    scaling = (
        ScalingConfig(num_workers=workers, use_gpu=resources.gpu, resources_per_worker=per_worker)
        if workers
        else ScalingConfig(num_workers=0)
    )
    work = _Work(fit, tuple(cells), store, resources.loader_workers, sole=workers == 0, gpu=resources.gpu)
    trainer = _Trainer(
        _run_worker,
        train_loop_config={"work": work},
        torch_config=TorchConfig(backend="nccl" if resources.gpu else "gloo"),
        scaling_config=scaling,
        run_config=RunConfig(
            name=name,
            storage_path=store.path(SCRATCH),
            storage_filesystem=store.filesystem,
            failure_config=FailureConfig(max_failures=resources.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        names = ", ".join(cell.name for cell in find_unfinished(cells, store))
        raise StageError(
            f"training failed with {names} unfinished: {describe_cause(error)}; finished models and epochs are kept, "
            "run again to continue"
        ) from find_root_cause(error)
    store.remove(f"{SCRATCH}/{name}")


class _Trainer(TorchTrainer):
    """A trainer that leaves Ctrl-C to the run, and starts no process that these worker groups do not need.

    Ray Train's own handler stays installed after training, and then ends the process with status 0. Workers read their
    tiles from the store and not from Ray Datasets. A placement group ends with the controller that created it, so it
    needs no process to watch over it.
    """

    def _register_sigint_handler(self, controller: Any) -> None:
        pass

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()  # type: ignore[misc]
        needless = (DatasetsCallback, PlacementGroupCleanerCallback)
        return [callback for callback in callbacks if not isinstance(callback, needless)]


def _run_worker(config: dict[str, _Work]) -> None:
    work = config["work"]
    worker: Worker = SoleWorker(work.gpu) if work.sole else GroupWorker(work.gpu)
    for cell in work.cells:
        with name_cell_in_errors(cell):
            if not cell.manifest(work.store):
                work.fit(cell, work.store, worker, work.loader_workers)
