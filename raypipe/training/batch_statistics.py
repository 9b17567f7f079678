"""Statistics of batch normalization, recomputed for the weights as they are.

Evaluation mode uses a moving average of the batches' means and variances. After few optimizer steps the average lags
behind the weights, and a good network scores like a poor one. So the statistics are recomputed after every fit and
before every score, from tiles of the fit: precise BatchNorm (Wu and Johnson, 2021, arXiv:2105.07576, section 3).

The tiles are shown as training shows them: augmented, and perturbed where the fit is adversarial. The weights were
fitted to activations that such batches normalize. docs/measured.md compares this with clean tiles.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from raypipe.models.classifier import Classifier
from raypipe.training.objective import Shows

BATCH = 128
"""Tiles a pass. Larger batches come closer to the statistics of all tiles at once."""
MOST = 2000
"""Tiles of a recalibration at the end of a fit, over all workers, at most."""
MOST_PER_EPOCH = 256
"""Tiles of a recalibration between epochs, over all workers, at most."""


class Recalibration(NamedTuple):
    """The work of a recalibration: tiles, and passes of a tile through the network, summed over tiles."""

    tiles: int = 0
    forwards: int = 0
    backwards: int = 0


@contextmanager
def as_evaluated(model: nn.Module) -> Iterator[nn.Module]:
    """Put a model in evaluation mode, but for its input transform; restore all modes afterwards.

    The transform stays in training mode: it then shows the network what training shows it, as one draw of noise
    instead of many.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        if isinstance(model, Classifier) and model.front:
            model.front.train()
        yield model
    finally:
        for module, training in modes:
            module.training = training


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the layers whose running statistics evaluation mode uses."""
    return [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.running_mean is not None]


@torch.no_grad()
def recompute_statistics(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    shows: Shows,
    total: Callable[[Tensor], Tensor],
) -> Recalibration:
    """Replace the running statistics of every BatchNorm layer by those of the given tiles.

    Dropout is off, and nothing else of the model changes: modes, momentum, counters, parameters and gradients stay.
    Layers that evaluation mode does not reach, as GoogLeNet's auxiliary heads, keep what they have. Batch means and
    variances are combined by the law of total variance, without Bessel's correction: evaluation mode then computes what
    training mode would with all these tiles in one batch.

    Parameters
    ----------
    model
        The classifier itself, not wrapped for DDP; it stays on its device.
    batches
        Images (n, channels, h, w), float32 in [0, 1], n >= 2, and labels (n,), on the model's device.
    shows
        Turns a batch into the network's inputs in training.
    total
        Sums a tensor over all workers, each of which calls this function.

    Returns
    -------
    Recalibration
        This worker's; all 0 where there is no BatchNorm layer.
    """
    if not (layers := batch_norms(model)):
        return Recalibration()
    moments = [torch.zeros(1 + 2 * layer.num_features, dtype=torch.float64) for layer in layers]
    hooks = [layer.register_forward_pre_hook(_adds_to(sums)) for layer, sums in zip(layers, moments, strict=True)]
    kept = [(layer, layer.momentum, _counter(layer)) for layer in layers]
    tiles = forwards = backwards = 0
    try:
        for layer in layers:
            layer.momentum = 0.0  # a pass in training mode then leaves the running statistics alone
        for images, labels in batches:
            shown = shows.make(model, images, labels)
            with as_evaluated(model):
                for layer in layers:
                    layer.train()
                model(shown.inputs)
            tiles += len(images)
            forwards += shown.passes * len(images) + len(shown.inputs)
            backwards += shown.passes * len(images)
    finally:
        for hook in hooks:
            hook.remove()
        for layer, momentum, counter in kept:
            layer.momentum = momentum
            if counter is not None and layer.num_batches_tracked is not None:
                layer.num_batches_tracked.copy_(counter)
    _write(layers, total(torch.cat(moments)))
    return Recalibration(tiles, forwards, backwards)


def _counter(layer: _BatchNorm) -> Tensor | None:
    return None if layer.num_batches_tracked is None else layer.num_batches_tracked.clone()


def _adds_to(sums: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """Return a hook that adds a batch's count, sums and sums of squares, per channel, to `sums`."""

    def add(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if not layer.training:  # a pass of the attack that makes the inputs
            return
        values = inputs[0].detach().transpose(0, 1).flatten(1).float()
        variance, mean = (figure.double().cpu() for figure in torch.var_mean(values, dim=1, correction=0))
        count = values.shape[1]
        sums.add_(count * torch.cat([torch.ones(1, dtype=torch.float64), mean, variance + mean.square()]))

    return add


def _write(layers: Sequence[_BatchNorm], sums: Tensor) -> None:
    sizes = [1 + 2 * layer.num_features for layer in layers]
    for layer, moments in zip(layers, torch.split(sums, sizes), strict=True):
        count = float(moments[0])
        if count == 0:
            continue
        mean, square = (moments[1:] / count).chunk(2)
        variance = (square - mean.square()).clamp_min(0)
        assert layer.running_mean is not None  # noqa: S101  for the type checker, as below
        assert layer.running_var is not None  # noqa: S101
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)
