"""Two-wing normalization, TWINS (Liu et al., 2023, arXiv:2303.11135): keep the batch statistics of pretraining in view.

The statistics of batch normalization hold a part of what a pretrained network knows, and fine-tuning replaces them.
Therefore the loss has a second part: that of the same weights under the statistics that the training started with. The
network under test uses the new statistics.

Difference from the paper: both parts see the whole batch, and no scheduler of their own weighs them.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from raypipe.training.batch_statistics import list_batch_norms


def freeze_statistics(start: nn.Module) -> dict[str, Tensor]:
    """Return copies of the statistics of batch normalization of a network, by the name of the buffer."""
    layers = set(list_batch_norms(start))
    return {
        f"{prefix}.{name}" if prefix else name: buffer.clone()
        for prefix, layer in start.named_modules()
        if layer in layers
        for name, buffer in layer.named_buffers(recurse=False)
    }


def normalize_by(statistics: dict[str, Tensor], model: nn.Module) -> Callable[[Tensor], Any]:
    """Return a model as a function that normalizes by given statistics, and keeps its own unchanged.

    Parameters
    ----------
    statistics
        Buffers of `freeze_statistics`.
    model
        The model in training mode, without its DDP wrapper.
    """

    def forward(images: Tensor) -> Any:
        training = [layer for layer in list_batch_norms(model) if layer.training]
        for layer in training:
            layer.eval()
        try:
            return functional_call(model, statistics, (images,))
        finally:
            for layer in training:
                layer.train()

    return forward
