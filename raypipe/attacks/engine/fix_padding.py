"""Fixed padding for convolutions that compute theirs from the size of their input, which no trace can follow.

TensorFlow's padding "same" adds one value more at the right and the bottom than at the left and the top, and how many
depends on the input. timm ports such networks, EfficientNet among them, with a layer that computes it in every pass. An
attack shows the network tiles of one size only.
"""

from typing import Any

import torch
from torch import Tensor, nn

FLEXIBLE = "Conv2dSame"
"""Name of timm's layer; the package is optional."""


def fix_padding(network: nn.Module, tiles: Tensor) -> None:
    """Replace convolutions that compute their padding by ones with the padding for tiles of a shape, in place.

    Parameters
    ----------
    network
        Network in evaluation mode.
    tiles
        (n, channels, h, w) tiles of the shape that the network will always get.
    """
    sizes: dict[nn.Module, set[tuple[int, ...]]] = {
        layer: set() for layer in network.modules() if type(layer).__name__ == FLEXIBLE
    }

    def note(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        sizes[layer].add(tuple(inputs[0].shape[2:]))

    hooks = [layer.register_forward_pre_hook(note) for layer in sizes]
    try:
        if hooks:
            with torch.no_grad():
                network(tiles)
    finally:
        for hook in hooks:
            hook.remove()
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if len(shapes := sizes.get(layer, ())) == 1 and isinstance(layer, nn.Conv2d):
                setattr(parent, name, _fix(layer, *shapes))


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Return the numbers of values that padding "same" adds before and after a map, along one axis.

    Parameters
    ----------
    size
        Length of the map.
    kernel, stride, dilation
        Settings of the convolution along this axis.
    """
    outputs = -(-size // stride)
    added = max(0, (outputs - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return added // 2, added - added // 2


def _fix(layer: nn.Conv2d, shape: tuple[int, ...]) -> nn.Sequential:
    (top, bottom), (left, right) = (
        same_padding(*axis) for axis in zip(shape, layer.kernel_size, layer.stride, layer.dilation, strict=True)
    )
    plain = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        stride=layer.stride,  # type: ignore[arg-type]
        dilation=layer.dilation,  # type: ignore[arg-type]
        groups=layer.groups,
        bias=layer.bias is not None,
        device="meta",
    )
    plain.weight, plain.bias = layer.weight, layer.bias
    return nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), plain.train(layer.training))
