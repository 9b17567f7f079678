"""Fixed padding for convolutions that compute theirs from the size of their input, which no trace can follow.

TensorFlow's padding "same" adds one value more at the right and the bottom than at the left and the top, and how many
depends on the input. timm ports such networks, EfficientNet among them, with a layer that computes it in every pass. An
attack shows the network tiles of one size only.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from raypipe.attacks.engine.map_sizes import Size, measure_maps

FLEXIBLE = "Conv2dSame"
"""Name of timm's layer; the package is optional."""


def measure_padded(network: nn.Module, tiles: Tensor) -> dict[str, Size]:
    """Return the size of the feature map of each convolution that computes its padding, by the layer's name.

    Parameters
    ----------
    network
        Network in evaluation mode.
    tiles
        (n, channels, h, w) tiles of the shape that the network will always get.
    """
    layers = {name: layer for name, layer in network.named_modules() if type(layer).__name__ == FLEXIBLE}
    return measure_maps(network, layers, tiles)


def fix_padding(network: nn.Module, sizes: Mapping[str, Size]) -> None:
    """Replace convolutions that compute their padding by ones with the padding for maps of a size, in place.

    Parameters
    ----------
    network
        Network to change.
    sizes
        Sizes of feature maps by the name of their convolution, from `measure_padded`.
    """
    for name, size in sizes.items():
        layer = network.get_submodule(name)
        if isinstance(layer, nn.Conv2d):
            network.set_submodule(name, _fix(layer, size))


def compute_same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
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


def _fix(layer: nn.Conv2d, size: Size) -> nn.Sequential:
    (top, bottom), (left, right) = (
        compute_same_padding(*axis) for axis in zip(size, layer.kernel_size, layer.stride, layer.dilation, strict=True)
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
