"""The training loop: one epoch at a time, so that whoever drives it can report, checkpoint and resume in between."""

import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler

from raypipe.data.png import decode_png
from raypipe.training.objective import Objective, Scored, cross_entropy
from raypipe.training.recipe import Recipe


@dataclass(frozen=True)
class EpochRecord:
    """What an epoch gave on this worker's tiles, averaged over the epoch while the weights moved.

    Parameters
    ----------
    epoch
        Counted from 1.
    loss
        Mean training loss per tile.
    accuracy
        Share of training tiles classified right, in [0, 1].
    tiles
        How many tiles the epoch had, each counted as often as it was used.
    seconds
        Wall time.
    forwards, backwards
        Passes of a tile through a network.
    score
        How good the classifier is on held-out tiles, where the best epoch is kept.
    """

    epoch: int
    loss: float
    accuracy: float
    tiles: int
    seconds: float
    forwards: int
    backwards: int
    score: float | None = None


class TileDataset(Dataset[tuple[Tensor, int]]):
    """Losslessly encoded tiles in memory, decoded when they are asked for.

    Parameters
    ----------
    images
        Encoded images.
    labels
        Their labels.
    """

    def __init__(self, images: Sequence[bytes], labels: Sequence[int]) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = decode_png(self.images[index])
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))), self.labels[index]


class Fit:
    """A classifier, its optimiser and its schedule, in the middle of being fitted.

    Parameters
    ----------
    model
        Images in [0, 1] in, logits out; already on `device` and, if need be, wrapped for DDP.
    recipe
        The settings.
    steps_per_epoch
        Optimiser steps per epoch on this worker.
    seed
        Of the order of tiles and the brightness jitter. Every epoch seeds anew from it, so that a resumed fit continues
        as the undisturbed one would.
    rank
        This worker's number; it enters the seed.
    objective
        What every step minimises.
    replays
        How often each batch is used before the next one; each is a step.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        steps_per_epoch: int,
        *,
        device: torch.device,
        seed: int,
        rank: int = 0,
        objective: Objective = cross_entropy,
        replays: int = 1,
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.device = device
        self.seed = seed
        self.rank = rank
        self.objective = objective
        self.replays = replays
        self.optimizer = _optimizer(model, recipe)
        steps = self.steps = max(1, steps_per_epoch * replays * recipe.epochs)
        self.scheduler = (
            torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps)
            if recipe.schedule == "cosine"
            else torch.optim.lr_scheduler.ConstantLR(self.optimizer, factor=1.0)
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self.history: list[EpochRecord] = []

    @property
    def finished_epochs(self) -> int:
        """How many epochs lie behind."""
        return len(self.history)

    def epochs(self, dataset: TileDataset, batch_size: int, loader_workers: int = 0) -> Iterator[EpochRecord]:
        """Train until the recipe's last epoch, yielding after each one.

        A batch of a single tile is left out: batch normalisation cannot be trained on one.
        """
        while self.finished_epochs < self.recipe.epochs:
            self._seed_epoch()
            generator = torch.Generator().manual_seed(torch.initial_seed())
            loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
                dataset,  # type: ignore[arg-type]  # collation turns the labels into a tensor
                batch_size,
                sampler=RandomSampler(dataset, generator=generator),
                num_workers=loader_workers,
                drop_last=len(dataset) % batch_size == 1,
                pin_memory=self.device.type == "cuda",
            )
            self.history.append(self._epoch(loader))
            yield self.history[-1]

    def state(self) -> bytes:
        """Everything but the model's own weights, to go on from."""
        stream = io.BytesIO()
        torch.save(
            {
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "scaler": self.scaler.state_dict(),
                "history": [asdict(record) for record in self.history],
            },
            stream,
        )
        return stream.getvalue()

    def restore(self, state: bytes) -> None:
        """Go on from what `state` gave; the model's weights are the caller's to restore."""
        saved = torch.load(io.BytesIO(state), map_location=self.device, weights_only=True)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scheduler.load_state_dict(saved["scheduler"])
        self.scaler.load_state_dict(saved["scaler"])
        self.history = [EpochRecord(**record) for record in saved["history"]]

    def _seed_epoch(self) -> None:
        entropy = np.random.SeedSequence([self.seed, self.finished_epochs, self.rank]).generate_state(1, np.uint64)
        torch.manual_seed(int(entropy[0]) >> 1)

    def _epoch(self, loader: "DataLoader[tuple[Tensor, Tensor]]") -> EpochRecord:
        start = time.perf_counter()
        self.model.train()
        loss_sum = torch.zeros((), device=self.device)
        correct = torch.zeros((), device=self.device)
        tiles = forwards = backwards = 0
        for pixels, labels in loader:
            images = pixels.to(self.device, non_blocking=True).float().div_(255)
            images = images.contiguous(memory_format=memory_format(self.device))
            targets = labels.to(self.device, non_blocking=True)
            shown = _brighten(images, self.recipe.brightness)
            for _ in range(self.replays):
                scored = self._step(shown, targets)
                loss_sum += scored.loss.detach() * len(targets)
                correct += (scored.logits.detach().argmax(1) == targets).sum()
                tiles += len(targets)
                forwards += scored.forwards * len(targets)
                backwards += scored.backwards * len(targets)
        epoch, seconds = self.finished_epochs + 1, time.perf_counter() - start
        mean_loss, accuracy = float(loss_sum) / tiles, float(correct) / tiles
        if not np.isfinite(mean_loss):
            raise FloatingPointError(
                f"training diverged in epoch {epoch}: loss {mean_loss}; lower learning_rate "
                f"({self.recipe.learning_rate}) or use precision fp32"
            )
        return EpochRecord(epoch, mean_loss, accuracy, tiles, seconds, forwards, backwards)

    def _step(self, images: Tensor, labels: Tensor) -> Scored:
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.recipe.precision)
        with torch.autocast(self.device.type, dtype=half, enabled=half is not None):
            scored = self.objective(self.model, images, labels, self.scheduler.last_epoch / self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(scored.loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        return scored


def memory_format(device: torch.device) -> torch.memory_format:
    """Of networks and images in training: GPUs convolve fastest with channels last, and most so in half precision."""
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Fused: it goes through the weights once a step, instead of once for each of the step's operations."""
    rate, decay = recipe.learning_rate, recipe.weight_decay
    match recipe.optimizer:
        case "sgd":
            return torch.optim.SGD(model.parameters(), rate, momentum=recipe.momentum, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(model.parameters(), rate, weight_decay=decay, fused=True)
        case "adam":
            return torch.optim.Adam(model.parameters(), rate, weight_decay=decay, fused=True)


def _brighten(images: Tensor, brightness: float) -> Tensor:
    if brightness == 0:
        return images
    factor = 1 + brightness * (2 * torch.rand(len(images), 1, 1, 1) - 1)
    return (images * factor.to(images.device)).clamp_(0, 1)
