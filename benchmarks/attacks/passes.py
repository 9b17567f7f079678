"""The passes of a contestant through the model: their number, the perturbations they find, and their cost alone."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor, nn

from raypipe.base.norms import StoredNorm

Kind = Literal["predict", "forward", "backward"]
"""Kind of pass: forward without a graph, forward with a graph, or backward."""
Sizes = Counter[tuple[Kind, int]]
"""Number of passes of each kind by size of the batch."""


def distances(images: Tensor, clean: Tensor, norm: StoredNorm) -> Tensor:
    """Return the norm of each perturbation, (n,); l0 counts changed channel values, not pixels."""
    difference = (images.double() - clean.double()).flatten(1)
    length: Tensor = torch.linalg.vector_norm(difference, ord={"l0": 0, "l2": 2, "linf": torch.inf}[norm], dim=1)
    return length


class PassLog:
    """A log of the passes through models, by hooks, with the shortest adversarial perturbation that they saw.

    A contestant may pass tiles in any order and any number at once. Each image is therefore taken as a perturbation of
    the tile that is nearest in L2.

    Parameters
    ----------
    images, labels
        Clean tiles, (n, channels, h, w), and their true classes, (n,).
    norm
        Norm in which perturbations are compared.
    budget
        Forward and backward passes per tile; a perturbation found after them does not count.

    Attributes
    ----------
    calls
        Numbers of passes by kind and size of the batch.
    spent
        (n,) number of passes on each tile.
    best
        (n,) norm of the shortest adversarial perturbation seen within the budget; infinite if there is none.
    overhead
        CPU seconds spent on the log, which are subtracted from a contestant's time.
    """

    def __init__(self, images: Tensor, labels: Tensor, norm: StoredNorm, budget: int) -> None:
        self.clean = images
        self.labels = labels
        self.norm = norm
        self.budget = budget
        self.calls: Sizes = Counter()
        self.spent = torch.zeros(len(labels), dtype=torch.long)
        self.best = torch.full((len(labels),), torch.inf, dtype=torch.float64)
        self.overhead = 0.0

    def count(self, *kinds: Kind) -> int:
        """Return the number of images that passed through the models."""
        return sum(size * times for (kind, size), times in self.calls.items() if kind in kinds)

    @contextmanager
    def watching(self, *models: nn.Module) -> Iterator[None]:
        """Log the passes through any of the models during the block."""
        handles = [model.register_forward_hook(self._after_forward) for model in models]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _after_forward(self, _model: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        begun = time.process_time()
        images: Tensor = inputs[0].detach()
        graph = bool(output.requires_grad)
        self.calls["forward" if graph else "predict", len(images)] += 1
        rows = self._rows_of(images)
        self.spent.index_add_(0, rows, torch.ones_like(rows))
        self._see(images, output.detach(), rows)
        if graph:

            def after_backward(gradient: Tensor) -> None:
                self.calls["backward", len(gradient)] += 1
                self.spent.index_add_(0, rows, torch.ones_like(rows))

            output.register_hook(after_backward)
        self.overhead += time.process_time() - begun

    def _rows_of(self, images: Tensor) -> Tensor:
        if len(self.clean) == 1:
            return torch.zeros(len(images), dtype=torch.long)
        return torch.cdist(images.flatten(1).float(), self.clean.flatten(1)).argmin(1)

    def _see(self, images: Tensor, logits: Tensor, rows: Tensor) -> None:
        found = (logits.argmax(1) != self.labels[rows]) & (self.spent[rows] <= self.budget)
        if bool(found.any()):
            rows = rows[found]
            lengths = distances(images[found], self.clean[rows], self.norm)
            self.best.scatter_reduce_(0, rows, lengths, "amin")


class PassCosts:
    """The costs of a model's passes alone, in CPU seconds per image.

    Parameters
    ----------
    model
        Model with frozen parameters.
    images
        Images (n, channels, h, w) for the passes.
    batch_size
        Size of the full batch.
    """

    def __init__(self, model: nn.Module, images: Tensor, batch_size: int) -> None:
        self.model = model
        self.images = images
        self.batch_size = batch_size
        self._relative: dict[int, dict[Kind, float]] = {}
        self.full = self.measure(batch_size)

    def refresh(self) -> None:
        """Measure the full batch again in the present state of the machine."""
        self.full = self.measure(self.batch_size)

    def measure(self, size: int, repeats: int = 5) -> dict[Kind, float]:
        """Return the median cost of each kind of pass at one size of the batch."""
        images = self.images.repeat(-(-size // len(self.images)), 1, 1, 1)[:size]
        times: dict[Kind, list[float]] = {"predict": [], "forward": [], "backward": []}
        for repeat in range(repeats + 1):
            with torch.no_grad():
                _, predict = _timed(lambda: self.model(images))
            points = images.clone().requires_grad_()
            logits, forward = _timed(lambda points=points: self.model(points))  # type: ignore[misc]
            loss = logits.sum()
            _, backward = _timed(lambda loss=loss, points=points: torch.autograd.grad(loss, points))  # type: ignore[misc]
            if repeat:  # the first pass is a warm-up
                for kind, seconds in (("predict", predict), ("forward", forward), ("backward", backward)):
                    times[kind].append(seconds / size)  # type: ignore[index]
        return {kind: median(values) for kind, values in times.items()}

    def at_full_batch(self, calls: Sizes) -> float:
        """Return the cost of a log's passes if every batch were full, which is the floor of such an attack."""
        return sum(size * times * self.full[kind] for (kind, size), times in calls.items())

    def as_made(self, calls: Sizes) -> float:
        """Return the cost of a log's passes at the batch sizes that were used."""
        return sum(size * times * self.full[kind] * self._relation(size)[kind] for (kind, size), times in calls.items())

    def _relation(self, size: int) -> dict[Kind, float]:
        """Return the cost of an image at a batch size, relative to a full batch; measured at sizes a quarter apart."""
        rounded = self.batch_size
        while rounded > size:
            rounded = min(rounded - 1, int(rounded / 1.25)) if rounded > 1 else 1
        if rounded not in self._relative:
            here, full = self.measure(rounded), self.measure(self.batch_size)
            self._relative[rounded] = {kind: here[kind] / full[kind] for kind in here}
        return self._relative[rounded]


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.process_time()
    result = call()
    return result, time.process_time() - begun


def warm_up(model: nn.Module, images: Tensor) -> None:
    """Make a pass in each direction, so that PyTorch's one-time work is charged to no contestant."""
    points = images.clone().requires_grad_()
    torch.autograd.grad(model(points).sum(), points)
