"""The model under attack: frozen, and counting what each tile costs."""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn


@contextmanager
def frozen(model: nn.Module) -> Iterator[nn.Module]:
    """Put a model in evaluation mode with fixed parameters; give it back as it was, also after an exception.

    Fixed parameters spare the backward pass the weights' gradients, 1.3 to 2.4 times its cost.

    Parameters
    ----------
    model
        Any module. Training flags of all its submodules, ``requires_grad`` and ``grad`` of its parameters are restored.

    Yields
    ------
    torch.nn.Module
        The same model, with gradients enabled whatever the caller's setting.
    """
    modes = [(module, module.training) for module in model.modules()]
    parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    try:
        model.eval()
        for parameter, _, _ in parameters:
            parameter.requires_grad_(False)
            parameter.grad = None
        with torch.enable_grad():
            yield model
    finally:
        for module, training in modes:
            module.training = training
        for parameter, requires_grad, grad in parameters:
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad


class Victim:
    """A classifier that counts the passes spent on each tile.

    Parameters
    ----------
    model
        Images (n, channels, h, w), float32 in [0, 1], in; logits (n, classes), at least two classes, out. Normalisation
        is inside. Attacks expect it `frozen`.
    tiles
        How many tiles are attacked. Passes name them by their position, 0 to ``tiles - 1``.
    batch_size
        Tiles in work at once, at most; lowered when memory runs out.

    Attributes
    ----------
    forwards, backwards
        (tiles,) integers on the model's device.
    """

    def __init__(self, model: nn.Module, tiles: int, batch_size: int = 64) -> None:
        own = next(chain(model.parameters(), model.buffers()), torch.empty(0))
        self.model = model
        self.batch_size = batch_size
        self.forwards = torch.zeros(tiles, dtype=torch.long, device=own.device)
        self.backwards = torch.zeros_like(self.forwards)

    def seen_as(self, model: nn.Module) -> "Victim":
        """Another form of the same model, whose passes are counted together with this one's."""
        other = copy.copy(self)
        other.model = model
        return other

    def part(self, rows: Tensor, model: nn.Module | None = None) -> "Victim":
        """Return a victim of some of the tiles, which counts its own passes; `add` brings them here.

        Parameters
        ----------
        rows
            (n,) positions of the tiles; there, they are 0 to ``n - 1``.
        model
            Another form of the same model; None: this one's.
        """
        return Victim(model or self.model, len(rows), self.batch_size)

    def add(self, part: "Victim", rows: Tensor) -> None:
        """Count a part's passes here too, and take over its batch size. Parameters are those of `part`."""
        self.forwards[rows] += part.forwards
        self.backwards[rows] += part.backwards
        self.batch_size = part.batch_size

    def rows(self) -> Tensor:
        """All tiles' positions, in order."""
        return torch.arange(len(self.forwards), device=self.forwards.device)

    def logits(self, images: Tensor, rows: Tensor) -> Tensor:
        """One forward pass.

        Parameters
        ----------
        images
            (n, channels, h, w), float32 in [0, 1].
        rows
            (n,) positions of the tiles that the images belong to.

        Returns
        -------
        torch.Tensor
            (n, classes).

        Raises
        ------
        ValueError
            If the model does not give two or more logits per image.
        """
        logits: Tensor = self.model(images)
        if logits.ndim != 2 or logits.shape[1] < 2:
            raise ValueError(f"the model gives {tuple(logits.shape)}: expected (n, classes) logits, at least 2 classes")
        self.forwards.index_add_(0, rows, torch.ones_like(rows))
        return logits

    def gradient(self, objective: Tensor, images: Tensor, rows: Tensor, retain_graph: bool = False) -> Tensor:
        """One backward pass, to the images only.

        Parameters
        ----------
        objective
            A scalar: the sum over tiles of what is differentiated.
        images
            (n, channels, h, w) that the objective was computed from.
        rows
            Positions of the tiles that take part in the objective. A batch may hold others, that have just finished:
            they are not counted, so that a tile's count does not depend on its neighbours.
        retain_graph
            Whether another gradient of the same forward pass follows.

        Returns
        -------
        torch.Tensor
            Like `images`; zero where the objective does not depend on them.
        """
        gradient = torch.zeros_like(images)
        if objective.requires_grad:
            (gradient,) = torch.autograd.grad(objective, images, retain_graph=retain_graph, materialize_grads=True)
        self.backwards.index_add_(0, rows, torch.ones_like(rows))
        return gradient.detach()

    def halve_batch(self) -> None:
        """Go on with half as many tiles at once, after memory ran out, and say so."""
        self.batch_size //= 2
        warnings.warn(f"out of memory: going on with batches of {self.batch_size} tiles", RuntimeWarning, stacklevel=2)
        if self.forwards.is_cuda:
            torch.cuda.empty_cache()
