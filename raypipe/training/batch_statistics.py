"""Statistics of batch normalization, recomputed for the current weights.

Evaluation mode uses a moving average of the batches' means and variances. After few optimizer steps the average lags
behind the weights, and a good network scores like a poor one. Therefore the statistics are recomputed after every fit
and before every score, from tiles of the fit. This is precise BatchNorm (Wu and Johnson, 2021, arXiv:2105.07576,
section 3).

The network sees the tiles as in training: augmented, and perturbed if the fit is adversarial. The reason is that the
weights were fitted to activations that such batches normalize. docs/measured.md compares this with clean tiles.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from raypipe.models.classifier import Classifier
from raypipe.training.objective import InputRule

BATCH = 128
"""Number of tiles per pass. Larger batches come closer to the statistics of all tiles at once."""
MOST = 2000
"""Largest number of tiles of a recalibration at the end of a fit, over all workers."""
MOST_PER_EPOCH = 256
"""Largest number of tiles of a recalibration between epochs, over all workers."""


class Recalibration(NamedTuple):
    """The work of a recalibration: the number of tiles, and the numbers of passes summed over tiles."""

    tiles: int = 0
    forwards: int = 0
    backwards: int = 0


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[nn.Module]:
    """Put a model in evaluation mode, except for its input transform, and restore all modes afterwards.

    The transform stays in training mode, so that the network sees the same kind of input as in training. An example is
    one draw of noise instead of many.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        if isinstance(model, Classifier) and model.input_transform:
            model.input_transform.train()
        yield model
    finally:
        for module, training in modes:
            module.training = training


def list_batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the layers whose running statistics evaluation mode uses."""
    return [layer for layer in model.modules() if isinstance(layer, _BatchNorm) and layer.running_mean is not None]


@torch.no_grad()
def recompute_statistics(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    input_rule: InputRule,
    total: Callable[[Tensor], Tensor],
) -> Recalibration:
    """Replace the running statistics of every BatchNorm layer with those of the given tiles.

    Dropout is off, and nothing else in the model changes: modes, momentum, counters, parameters and gradients stay.
    Layers that evaluation mode does not reach, such as GoogLeNet's auxiliary heads, keep their statistics. Batch means
    and variances are combined by the law of total variance, without Bessel's correction. Evaluation mode then computes
    the result that training mode would give with all these tiles in one batch.

    Parameters
    ----------
    model
        The classifier itself, not wrapped for DDP; it stays on its device.
    batches
        Images (n, channels, h, w), float32 in [0, 1], n >= 2, and labels (n,), on the model's device.
    input_rule
        Rule that turns a batch into the network's inputs in training.
    total
        Function that sums a tensor over all workers. Every worker must call `recompute_statistics`.

    Returns
    -------
    Recalibration
        The work of this worker; all 0 if there is no BatchNorm layer.
    """
    if not (layers := list_batch_norms(model)):
        return Recalibration()
    moments = [torch.zeros(1 + 2 * layer.num_features, dtype=torch.float64) for layer in layers]
    hooks = [
        layer.register_forward_pre_hook(_make_moment_hook(sums)) for layer, sums in zip(layers, moments, strict=True)
    ]
    kept = [(layer, layer.momentum, _get_counter(layer)) for layer in layers]
    tiles = forwards = backwards = 0
    try:
        for layer in layers:
            layer.momentum = 0.0  # A pass in training mode then leaves the running statistics unchanged.
        for images, labels in batches:
            shown = input_rule.make(model, images, labels)
            with evaluation_mode(model):
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


def _get_counter(layer: _BatchNorm) -> Tensor | None:
    return None if layer.num_batches_tracked is None else layer.num_batches_tracked.clone()


def _make_moment_hook(sums: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """Return a hook that adds a batch's count, sums and sums of squares, per channel, to `sums`."""

    def add(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if not layer.training:  # This is a pass of the attack that crafts the inputs.
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
        assert layer.running_mean is not None  # noqa: S101  The type checker needs it, also below.
        assert layer.running_var is not None  # noqa: S101
        layer.running_mean.copy_(mean)
        layer.running_var.copy_(variance)
