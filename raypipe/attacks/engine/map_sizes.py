"""Sizes of the feature maps that the layers of a network see."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

Size = tuple[int, int]
"""Height and width of a feature map."""


def measure_maps(network: nn.Module, layers: Mapping[str, nn.Module], tiles: Tensor) -> dict[str, Size]:
    """Return the size of the feature maps that each layer gets, without layers that get several sizes or none.

    Parameters
    ----------
    network
        Network in evaluation mode.
    layers
        Some of its layers, by any names.
    tiles
        (n, channels, h, w) tiles.
    """
    seen: dict[str, set[Size]] = {name: set() for name in layers}
    if not layers:
        return {}

    def note(name: str, inputs: tuple[Any, ...]) -> None:
        height, width = inputs[0].shape[2:]
        seen[name].add((height, width))

    hooks = [
        layer.register_forward_pre_hook(lambda _, inputs, name=name: note(name, inputs))
        for name, layer in layers.items()
    ]
    try:
        with torch.no_grad():
            network(tiles)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: sizes.pop() for name, sizes in seen.items() if len(sizes) == 1}
