"""Networks without initial weights, for those that get stored weights anyway."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

FILLING = frozenset((Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_))
"""Functions that fill a parameter with random values."""
COMPARING = frozenset((Tensor.lt, Tensor.gt, Tensor.__lt__, Tensor.__gt__))
"""Comparisons by which `torch.nn.init.trunc_normal_` finds values to draw again."""


def build_uninitialized(build: Callable[[], nn.Module]) -> nn.Module:
    """Return a network whose random parameters have no values yet; the caller must load all of them.

    Random values take up to ten times as long as the rest of a network. PyTorch's device ``meta`` would avoid them too,
    but it imports PyTorch's compiler.

    Parameters
    ----------
    build
        Function that builds the network.
    """
    with _SkipRandomValues():
        return build()


class _SkipRandomValues(TorchFunctionMode):
    """Leave parameters without values where they would get random ones. All other tensors get theirs."""

    def __torch_function__(
        self, function: Any, _: Any, arguments: tuple[Any, ...] = (), options: dict[str, Any] | None = None
    ) -> Any:
        options = options or {}
        tensor = arguments[0] if arguments else options.get("tensor")
        if isinstance(tensor, nn.Parameter):
            if function in FILLING:
                return tensor
            if function in COMPARING:
                return torch.zeros((), dtype=torch.bool)
        return function(*arguments, **options)
