"""The training loop, one epoch at a time. Between epochs the caller can report, write a checkpoint and resume."""

import io
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from raypipe.training.augment import augment
from raypipe.training.batch_statistics import BATCH, Recalibration, list_batch_norms, recompute_statistics
from raypipe.training.dataset import TileDataset, iterate_batches, to_images
from raypipe.training.linear_probing import LinearProbing
from raypipe.training.objective import TILES, InputRule, Objective, StepLoss, cross_entropy, unwrap_ddp
from raypipe.training.optimization import WeightAverage, make_optimizer, make_schedule
from raypipe.training.recipe import Recipe

RECALIBRATION = 1
"""Seed entry that separates the random numbers of a recalibration from those of an epoch."""


@dataclass(frozen=True)
class EpochRecord:
    """Figures of an epoch on this worker's tiles, averaged over the epoch while the weights change.

    Parameters
    ----------
    epoch
        Number of the epoch, from 1.
    loss
        Mean training loss per tile.
    accuracy
        Share of training tiles that are classified correctly, in [0, 1].
    tiles
        Number of tiles of the epoch. A tile counts each time it is used.
    seconds
        Wall time in seconds.
    forwards, backwards
        Numbers of forward and backward passes of a tile through a network, summed over tiles.
    score
        Score of the classifier on held-out tiles, where larger is better. None if the fit keeps the last epoch.
    validation_loss, validation_accuracy
        Mean cross-entropy per tile and share of correct predictions, in evaluation mode after the epoch, on clean
        held-out tiles. None if there are no held-out tiles.
    """

    epoch: int
    loss: float
    accuracy: float
    tiles: int
    seconds: float
    forwards: int
    backwards: int
    score: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None


class Fit:
    """A classifier in training, with its optimizer and its schedule.

    Parameters
    ----------
    model
        A network from images in [0, 1] to logits, on `device` and, with several workers, wrapped for DDP.
    recipe
        Settings of the fit.
    steps_per_epoch
        Number of optimizer steps per epoch on this worker.
    device
        Device of the model.
    seed
        Seed of the order of the tiles and of their augmentation. Every epoch starts from it, so that a resumed fit
        continues like an uninterrupted one.
    rank
        Number of this worker. It is part of the seed.
    objective
        Loss that every step minimizes.
    input_rule
        Rule for the inputs that a step shows the network. Batch statistics are recomputed from such inputs. None means
        that the fit does not change the network's statistics.
    replays
        Number of steps on each batch before the next batch.
    probing
        Share of the steps, in [0, 1), in which only the parameters named in `head` learn.
    head
        Names of the parameters of `model`, without its DDP wrapper, whose shape depends on the number of classes.
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
        input_rule: InputRule | None = TILES,
        replays: int = 1,
        probing: float = 0.0,
        head: Collection[str] = (),
    ) -> None:
        self.model = model
        self.recipe = recipe
        self.device = device
        self.seed = seed
        self.rank = rank
        self.objective = objective
        self.replays = replays
        self.input_rule = input_rule
        self.optimizer = make_optimizer(model, recipe)
        self.steps = max(1, steps_per_epoch * replays * recipe.epochs)
        self.scheduler = make_schedule(self.optimizer, recipe, self.steps)
        self.probing = LinearProbing(unwrap_ddp(model), head, round(probing * self.steps))
        self.average = WeightAverage(unwrap_ddp(model), recipe.ema) if recipe.ema else None
        if recipe.compile:
            unwrap_ddp(model).compile()
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        self.history: list[EpochRecord] = []

    @property
    def finished_epochs(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def evaluated(self) -> nn.Module:
        """Model that is validated and kept. It has averaged weights if the recipe averages them."""
        return self.average.model if self.average else unwrap_ddp(self.model)

    def epochs(self, dataset: TileDataset, batch_size: int, loader_workers: int = 0) -> Iterator[EpochRecord]:
        """Train until the recipe's last epoch, and yield the record of each epoch.

        A batch of a single tile is left out, because batch normalization cannot train on it.
        """
        while self.finished_epochs < self.recipe.epochs:
            self._set_seed()
            generator = torch.Generator().manual_seed(torch.initial_seed())
            loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
                dataset,  # type: ignore[arg-type]  # Collation turns the labels into a tensor.
                batch_size,
                sampler=RandomSampler(dataset, generator=generator),
                num_workers=loader_workers,
                drop_last=len(dataset) % batch_size == 1,
                pin_memory=self.device.type == "cuda",
            )
            self.history.append(self._train_epoch(loader))
            yield self.history[-1]

    def state(self) -> bytes:
        """Return everything that `restore` needs to continue, except the model's own weights."""
        stream = io.BytesIO()
        torch.save(
            {
                "optimizer": self.optimizer.state_dict(),
                "scheduler": self.scheduler.state_dict(),
                "scaler": self.scaler.state_dict(),
                "average": self.average.state() if self.average else None,
                "history": [asdict(record) for record in self.history],
            },
            stream,
        )
        return stream.getvalue()

    def restore(self, state: bytes) -> None:
        """Continue from a state that `state` returned. The caller restores the model's weights."""
        saved = torch.load(io.BytesIO(state), map_location=self.device, weights_only=True)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scheduler.load_state_dict(saved["scheduler"])
        self.scaler.load_state_dict(saved["scaler"])
        if self.average:
            self.average.restore(saved["average"])
        self.history = [EpochRecord(**record) for record in saved["history"]]

    def recalibrate(self, dataset: TileDataset, tiles: int, total: Callable[[Tensor], Tensor]) -> Recalibration:
        """Recompute the batch statistics of the evaluated model.

        The states of the random generators do not change.

        Parameters
        ----------
        dataset
            Training tiles of this worker.
        tiles
            Largest number of tiles to use.
        total
            Function that sums a tensor over all workers. Every worker must call this method.
        """
        if self.input_rule is None or not list_batch_norms(self.evaluated):
            return Recalibration()
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            self._set_seed(RECALIBRATION)
            chosen = torch.randperm(len(dataset))[:tiles].tolist()
            if len(chosen) % BATCH == 1:  # Batch normalization has no statistics of one tile.
                chosen.pop()
            batches = iterate_batches(dataset, chosen, BATCH, self.device)
            shown = ((augment(images, self.recipe), labels) for images, labels in batches)
            return recompute_statistics(self.evaluated, shown, self.input_rule, total)

    def _set_seed(self, *purpose: int) -> None:
        entropy = np.random.SeedSequence([self.seed, self.finished_epochs, self.rank, *purpose])
        torch.manual_seed(int(entropy.generate_state(1, np.uint64)[0]) >> 1)

    def _train_epoch(self, loader: "DataLoader[tuple[Tensor, Tensor]]") -> EpochRecord:
        start = time.perf_counter()
        self.model.train()
        loss_sum = torch.zeros((), device=self.device)
        correct = torch.zeros((), device=self.device)
        tiles = forwards = backwards = 0
        for pixels, labels in loader:
            targets = labels.to(self.device, non_blocking=True)
            shown = augment(to_images(pixels, self.device), self.recipe)
            for _ in range(self.replays):
                scored = self._step(shown, targets)
                loss_sum += scored.loss.detach() * len(targets)
                correct += (scored.logits.detach().argmax(1) == targets).sum()
                tiles += len(targets)
                forwards += scored.forwards * len(targets)
                backwards += scored.backwards * len(targets)
        if self.average:
            self.average.copy_buffers()
        epoch, seconds = self.finished_epochs + 1, time.perf_counter() - start
        mean_loss, accuracy = float(loss_sum) / tiles, float(correct) / tiles
        if not np.isfinite(mean_loss):
            raise FloatingPointError(
                f"training diverged in epoch {epoch}: loss {mean_loss}; lower learning_rate "
                f"({self.recipe.learning_rate}) or use precision fp32"
            )
        return EpochRecord(epoch, mean_loss, accuracy, tiles, seconds, forwards, backwards)

    def _step(self, images: Tensor, labels: Tensor) -> StepLoss:
        step = self.scheduler.last_epoch
        self.probing.begin_step(step)
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.recipe.precision)
        with torch.autocast(self.device.type, dtype=half, enabled=half is not None):
            scored = self.objective(self.model, images, labels, step / self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(scored.loss).backward()  # type: ignore[no-untyped-call]
        self.probing.drop_gradients(step)
        if self.recipe.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        if self.average:
            self.average.update()
        return scored
