"""Passes through the model: how many a contestant makes, what they find, and what they cost on their own."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.attacks.contestants import Norm

Kind = Literal["predict", "forward", "backward"]
"""A forward pass without a graph, one with a graph, a backward pass."""
Sizes = Counter[tuple[Kind, int]]
"""How often a pass of each kind was made with a batch of each size."""


def distances(images: Tensor, clean: Tensor, norm: Norm) -> Tensor:
    """Length of each perturbation, (n,); l0 counts changed channel values, not pixels."""
    difference = (images.double() - clean.double()).flatten(1)
    length: Tensor = torch.linalg.vector_norm(difference, ord={"l0": 0, "l2": 2, "linf": torch.inf}[norm], dim=1)
    return length


class PassLog:
    """Counts the passes through models by hooks, and keeps the shortest adversarial perturbation that they saw.

    A contestant may hand over tiles in any order and any number at once: each image is taken for a perturbation of the
    tile that it is nearest to in L2.

    Parameters
    ----------
    images, labels
        The clean tiles, (n, channels, h, w), and their true classes, (n,).
    norm
        In which perturbations are compared.
    budget
        Forward and backward passes a tile; what is found after them does not count as found.

    Attributes
    ----------
    calls
        Passes by kind and size of the batch.
    spent
        (n,) passes on each tile.
    best
        (n,) length of the shortest adversarial perturbation seen within the budget; infinite: none.
    overhead
        CPU seconds spent here, to be taken off a contestant's time.
    """

    def __init__(self, images: Tensor, labels: Tensor, norm: Norm, budget: int) -> None:
        self.clean = images
        self.labels = labels
        self.norm = norm
        self.budget = budget
        self.calls: Sizes = Counter()
        self.spent = torch.zeros(len(labels), dtype=torch.long)
        self.best = torch.full((len(labels),), torch.inf, dtype=torch.float64)
        self.overhead = 0.0

    def count(self, *kinds: Kind) -> int:
        """Images passed through the models in all."""
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
    """What passes of a model cost on their own, in CPU seconds an image.

    Parameters
    ----------
    model
        Frozen.
    images
        (n, channels, h, w), to make passes with.
    batch_size
        The full batch.
    """

    def __init__(self, model: nn.Module, images: Tensor, batch_size: int) -> None:
        self.model = model
        self.images = images
        self.batch_size = batch_size
        self._relative: dict[int, dict[Kind, float]] = {}
        self.full = self.measure(batch_size)

    def refresh(self) -> None:
        """Measure the full batch again, at the present state of the machine."""
        self.full = self.measure(self.batch_size)

    def measure(self, size: int, repeats: int = 5) -> dict[Kind, float]:
        """The median cost of each kind of pass at one size of the batch."""
        images = self.images.repeat(-(-size // len(self.images)), 1, 1, 1)[:size]
        times: dict[Kind, list[float]] = {"predict": [], "forward": [], "backward": []}
        for repeat in range(repeats + 1):
            with torch.no_grad():
                _, predict = _timed(lambda: self.model(images))
            points = images.clone().requires_grad_()
            logits, forward = _timed(lambda points=points: self.model(points))  # type: ignore[misc]
            loss = logits.sum()
            _, backward = _timed(lambda loss=loss, points=points: torch.autograd.grad(loss, points))  # type: ignore[misc]
            if repeat:  # the first is the warm-up
                for kind, seconds in (("predict", predict), ("forward", forward), ("backward", backward)):
                    times[kind].append(seconds / size)  # type: ignore[index]
        return {kind: median(values) for kind, values in times.items()}

    def at_full_batch(self, calls: Sizes) -> float:
        """What the passes of a log would cost if every batch were full: the floor of an attack that makes them."""
        return sum(size * times * self.full[kind] for (kind, size), times in calls.items())

    def as_made(self, calls: Sizes) -> float:
        """What the passes of a log cost at the sizes that they were made with."""
        return sum(size * times * self.full[kind] * self._relation(size)[kind] for (kind, size), times in calls.items())

    def _relation(self, size: int) -> dict[Kind, float]:
        """Cost of an image at some size, as a multiple of that in a full batch; measured at sizes a quarter apart."""
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
    """Make a pass each way, so that nobody pays for what PyTorch does once."""
    points = images.clone().requires_grad_()
    torch.autograd.grad(model(points).sum(), points)
