"""The model under attack, which is frozen and counts the passes of each tile."""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn


@contextmanager
def freeze(model: nn.Module) -> Iterator[nn.Module]:
    """Put a model in evaluation mode with fixed parameters, and restore it afterwards, also after an exception.

    With fixed parameters the backward pass skips the gradients of the weights. With them it costs 1.3 to 2.4 times as
    much.

    Parameters
    ----------
    model
        Any module. The training flags of all its submodules are restored, and ``requires_grad`` and ``grad`` of its
        parameters.

    Yields
    ------
    torch.nn.Module
        The given model. Gradients are enabled, even if the caller has disabled them.
    """
    modes = [(module, module.training) for module in model.modules()]
    parameters = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    try:
        _evaluate(model)
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


def _evaluate(model: nn.Module) -> None:
    try:
        model.eval()
    except NotImplementedError:  # a program of torch.export has one mode, and refuses to change it
        for module in model.modules():
            module.training = False


class Victim:
    """A classifier that counts the passes spent on each tile.

    Parameters
    ----------
    model
        A network from images (n, channels, h, w), float32 in [0, 1], to logits (n, classes) of at least two classes. It
        includes the normalization. Attacks expect a `frozen` model.
    tiles
        Number of tiles to attack. Passes identify a tile by its position, 0 to ``tiles - 1``.
    batch_size
        Largest number of tiles attacked at once. Lowered when memory runs out.
    clean_logits
        (tiles, classes) logits of the unchanged tiles, which `raypipe.attacks.engine.active.predict_clean` then returns
        without a pass. None if they are unknown.

    Attributes
    ----------
    forwards, backwards
        (tiles,) numbers of forward and backward passes, integers on the model's device.
    queries
        (tiles,) numbers of forward passes up to the first success, without the one for the unchanged tile; 0 where
        the attack noted no success. Attacks without gradients note it.
    """

    def __init__(self, model: nn.Module, tiles: int, batch_size: int = 64, clean_logits: Tensor | None = None) -> None:
        own = next(chain(model.parameters(), model.buffers()), torch.empty(0))
        self.model = model
        self.batch_size = batch_size
        self.clean_logits = clean_logits
        self.forwards = torch.zeros(tiles, dtype=torch.long, device=own.device)
        self.backwards = torch.zeros_like(self.forwards)
        self.queries = torch.zeros_like(self.forwards)

    def with_model(self, model: nn.Module) -> "Victim":
        """Return a victim with another form of the model, whose passes are counted together with this one's."""
        other = copy.copy(self)
        other.model = model
        return other

    def part(self, rows: Tensor, model: nn.Module | None = None) -> "Victim":
        """Return a victim for some of the tiles, which counts its own passes; `add` adds them here.

        Parameters
        ----------
        rows
            (n,) positions of the tiles. In the new victim their positions are 0 to ``n - 1``.
        model
            Another form of the model. None means this victim's model.
        """
        clean_logits = None if self.clean_logits is None else self.clean_logits[rows]
        return Victim(model or self.model, len(rows), self.batch_size, clean_logits)

    def add(self, part: "Victim", rows: Tensor) -> None:
        """Add the passes of a victim from `part` for the positions `rows`, and take over its batch size."""
        self.forwards[rows] += part.forwards
        self.backwards[rows] += part.backwards
        self.batch_size = part.batch_size

    def rows(self) -> Tensor:
        """Return the positions of all tiles, in order."""
        return torch.arange(len(self.forwards), device=self.forwards.device)

    def logits(self, images: Tensor, rows: Tensor) -> Tensor:
        """Run one forward pass and return the logits.

        Parameters
        ----------
        images
            (n, channels, h, w), float32 in [0, 1].
        rows
            (n,) positions of the tiles that the images belong to.

        Returns
        -------
        torch.Tensor
            (n, classes) logits.

        Raises
        ------
        ValueError
            If the model does not return at least two logits per image.
        """
        logits: Tensor = self.model(images)
        if logits.ndim != 2 or logits.shape[1] < 2:
            raise ValueError(f"the model gives {tuple(logits.shape)}: expected (n, classes) logits, at least 2 classes")
        self.forwards.index_add_(0, rows, torch.ones_like(rows))
        return logits

    def gradient(self, objective: Tensor, images: Tensor, rows: Tensor, retain_graph: bool = False) -> Tensor:
        """Run one backward pass to the images, and return their gradient.

        Parameters
        ----------
        objective
            Scalar to differentiate: the sum over tiles of their objectives.
        images
            (n, channels, h, w) images that the objective was computed from.
        rows
            Positions of the tiles in the objective. A batch may contain other tiles that are just done. They are not
            counted, so that a tile's count does not depend on the other tiles of its batch.
        retain_graph
            True if another gradient of this forward pass follows.

        Returns
        -------
        torch.Tensor
            Gradient like `images`; zero where the objective does not depend on them.
        """
        gradient = torch.zeros_like(images)
        if objective.requires_grad:
            (gradient,) = torch.autograd.grad(objective, images, retain_graph=retain_graph, materialize_grads=True)
        self.backwards.index_add_(0, rows, torch.ones_like(rows))
        return gradient.detach()

    def count_queries(self) -> Tensor:
        """Return the (tiles,) numbers of forward passes so far, without the one for the unchanged tile."""
        return self.forwards - int(self.clean_logits is None)

    def note_success(self, rows: Tensor) -> None:
        """Note that the last pass of the tiles at the positions `rows` is a success; only the first one counts."""
        first = rows[self.queries[rows] == 0]
        self.queries[first] = self.count_queries()[first]

    def halve_batch(self) -> None:
        """Halve the batch size after memory runs out, and warn."""
        self.batch_size //= 2
        warnings.warn(f"out of memory: going on with batches of {self.batch_size} tiles", RuntimeWarning, stacklevel=2)
        if self.forwards.is_cuda:
            torch.cuda.empty_cache()
