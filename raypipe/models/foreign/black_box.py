"""Models without gradients: ONNX files that only ONNX Runtime can run, and Python functions of JAX or Keras."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Function = Callable[[NDArray[np.float32]], Any]
"""A function from images (n, 3, h, w), float32 in [0, 1], to logits or probabilities (n, classes), as an array."""


class BlackBox(nn.Module):
    """A Python function as a network without gradients.

    Parameters
    ----------
    function
        Function as in `Function`. Its result can be any array that NumPy can read, also a tensor.
    reason
        Reason why the model has no gradients, in words that follow "because".
    recovers
        True if the function works as before after it has refused images. A model of Keras on JAX does not: it takes its
        weights out before each prediction, and an error keeps it from putting them back.
    """

    def __init__(
        self, function: Function, reason: str = "it is a function and no torch.nn.Module", *, recovers: bool = False
    ) -> None:
        super().__init__()
        self.function = function
        self.reason = reason
        self.recovers = recovers

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, classes) of images, on the device of the images."""
        found = self.function(np.ascontiguousarray(images.detach().cpu().numpy()))
        if isinstance(found, Tensor):
            found = found.detach().cpu().numpy()
        return torch.from_numpy(np.array(found, dtype=np.float32)).to(images.device)

    def extra_repr(self) -> str:
        """Return the name of the function, which distinguishes functions in a hash of the module."""
        name = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        return f"function={getattr(self.function, '__module__', '')}.{name}"


def find_reason(network: nn.Module) -> str | None:
    """Return the reason why a network has no gradients, or None if it is no black box."""
    return next((module.reason for module in network.modules() if isinstance(module, BlackBox)), None)


def may_refuse(network: nn.Module) -> bool:
    """Return True if images that a network does not take leave it as it was, so that they may be tried."""
    return all(module.recovers for module in network.modules() if isinstance(module, BlackBox))
