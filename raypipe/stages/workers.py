"""The process of a fit: a worker of a Ray Train group, or the only worker."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import ray.train
import ray.train.torch
import torch
from ray.train import Checkpoint
from torch import Tensor, nn

from raypipe.models.model_file import MODEL_FILE
from raypipe.plan.cells import Cell
from raypipe.stages.cluster import get_own_device
from raypipe.training.fit import EpochRecord

FIT_STATE = "fit.pt"
BEST = "best.safetensors"
CELL_KEY = "cell.json"


@dataclass(frozen=True)
class FitCheckpoint:
    """A checkpoint of a fit: the weights, the rest of its state, and the weights of the best epoch."""

    weights: bytes
    state: bytes
    best: bytes = b""


class Worker(Protocol):
    """The process of a fit, as the fit sees it."""

    rank: int
    world_size: int
    device: torch.device

    def prepare(self, model: nn.Module) -> nn.Module:
        """Return the model on the device, synchronized with the other workers' copies."""

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of all workers' values on the CPU. Every worker calls this method."""

    def find_last_checkpoint(self, cell: Cell) -> FitCheckpoint | None:
        """Return the last checkpoint of this cell, or None if no interrupted fit left one."""

    def report(self, cell: Cell, record: EpochRecord, save: Callable[[], FitCheckpoint]) -> None:
        """Report a finished epoch to Ray, with a checkpoint to continue from."""


class GroupWorker:
    """A worker of a Ray Train group, which fits with DDP."""

    def __init__(self, gpu: bool) -> None:
        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        get_own_device(gpu)
        self.device: torch.device = ray.train.torch.get_device() if gpu else torch.device("cpu")

    def prepare(self, model: nn.Module) -> nn.Module:
        """Move the model to this worker's device, and wrap it for DDP if there are several workers."""
        options = {"gradient_as_bucket_view": True}  # exchange the computed gradients themselves, without a copy
        wrapped: nn.Module = ray.train.torch.prepare_model(
            model, move_to_device=self.device, parallel_strategy_kwargs=options
        )
        return wrapped

    def total(self, values: Tensor) -> Tensor:
        """Return the sum over the group, on the CPU."""
        if self.world_size == 1:
            return values.cpu()
        sums = values.to(self.device, copy=True)
        torch.distributed.all_reduce(sums)
        return sums.cpu()

    def find_last_checkpoint(self, cell: Cell) -> FitCheckpoint | None:
        """Return Ray Train's last committed checkpoint if it belongs to this cell."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        with checkpoint.as_directory() as directory:
            folder = Path(directory)
            if json.loads((folder / CELL_KEY).read_text())["key"] != cell.key:
                return None
            return FitCheckpoint(*((folder / name).read_bytes() for name in (MODEL_FILE, FIT_STATE, BEST)))

    def report(self, cell: Cell, record: EpochRecord, save: Callable[[], FitCheckpoint]) -> None:
        """Report with a checkpoint from rank 0. Every rank reports, as Ray Train demands."""
        metrics = {"cell": cell.name, **asdict(record)}
        name = f"{cell.name.replace('/', '-')}-epoch_{record.epoch:04d}"
        if self.rank != 0:
            ray.train.report(metrics, checkpoint_dir_name=name)
            return
        with tempfile.TemporaryDirectory() as directory:
            folder, saved = Path(directory), save()
            (folder / CELL_KEY).write_text(json.dumps({"key": cell.key}))
            (folder / MODEL_FILE).write_bytes(saved.weights)
            (folder / FIT_STATE).write_bytes(saved.state)
            (folder / BEST).write_bytes(saved.best)
            ray.train.report(metrics, checkpoint=Checkpoint.from_directory(directory), checkpoint_dir_name=name)


class SoleWorker:
    """The only worker of a fit, in the calling process, as in Ray Train's local mode.

    It does not use that mode's context, because Tune hides it within a trial. It keeps no checkpoints, so a lost fit
    starts again.
    """

    rank = 0
    world_size = 1

    def __init__(self, gpu: bool) -> None:
        self.device = get_own_device(gpu)

    def prepare(self, model: nn.Module) -> nn.Module:
        """Move the model to the device."""
        return model.to(self.device)

    def total(self, values: Tensor) -> Tensor:
        """Return the values, because there is no other worker."""
        return values.cpu()

    def find_last_checkpoint(self, cell: Cell) -> FitCheckpoint | None:  # noqa: ARG002  required by the protocol
        """Return None, because there are no checkpoints."""
        return None

    def report(self, cell: Cell, record: EpochRecord, save: Callable[[], FitCheckpoint]) -> None:
        """Do nothing: progress is read from the store, and no checkpoint is kept."""
