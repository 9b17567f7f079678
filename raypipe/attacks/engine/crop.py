"""The removal of kernel values that meet nothing but padding.

Where a feature map is smaller than a kernel reaches, parts of the kernel only ever multiply zeros. The last
convolutions of ResNet-18 see maps of 1 x 1 values if tiles have 32 pixels: there 8 of 9 values of a kernel do nothing,
but are read and multiplied in every pass.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from raypipe.attacks.engine.map_sizes import Size, measure_maps


def measure_cropped(network: nn.Module, tiles: Tensor) -> dict[str, Size]:
    """Return the size of the feature map of each convolution whose kernel can be cropped, by the layer's name.

    Parameters
    ----------
    network
        Network whose feature maps depend on the shape of the tiles only, such as one that can be traced.
    tiles
        (n, channels, h, w) tiles of the shape that the network will always get.
    """
    layers = {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    }
    sizes = measure_maps(network, layers, tiles)
    return {name: size for name, size in sizes.items() if _crop(layers[name], size) is not None}


def crop_kernels(network: nn.Module, sizes: Mapping[str, Size]) -> None:
    """Crop the kernels of a network to the values that meet its feature maps, in place. Its function stays the same.

    Parameters
    ----------
    network
        Network to change.
    sizes
        Sizes of feature maps by the name of their convolution, from `measure_cropped`.
    """
    for name, size in sizes.items():
        layer = network.get_submodule(name)
        if isinstance(layer, nn.Conv2d) and (cropped := _crop(layer, size)) is not None:
            network.set_submodule(name, cropped)


def find_useful_part(size: int, kernel: int, stride: int, padding: int, dilation: int) -> tuple[int, int, int]:
    """Return the part of a kernel that meets the map, along one axis: its first value, its length and its padding.

    Parameters
    ----------
    size
        Length of the feature map.
    kernel, stride, padding, dilation
        Settings of the convolution along this axis. They are returned unchanged where no shorter kernel with equal
        padding on both sides has the same outputs.
    """

    def count_outputs(kernel: int, padding: int) -> int:
        return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1

    outputs = count_outputs(kernel, padding)
    places = [[output * stride + value * dilation - padding for output in range(outputs)] for value in range(kernel)]
    useful = [value for value, reached in enumerate(places) if any(0 <= place < size for place in reached)]
    if useful:
        first, length = useful[0], useful[-1] - useful[0] + 1
        remaining = padding - first * dilation
        if remaining >= 0 and count_outputs(length, remaining) == outputs:
            return first, length, remaining
    return 0, kernel, padding


def _crop(layer: nn.Conv2d, size: Size) -> nn.Conv2d | None:
    """Return a convolution with a smaller kernel and the same outputs for maps of a size; None if there is none."""
    settings = zip(size, layer.kernel_size, layer.stride, layer.padding, layer.dilation, strict=True)
    parts = [find_useful_part(*axis) for axis in settings]  # type: ignore[arg-type]  # the padding is no string here
    (top, height, vertical), (left, width, horizontal) = parts
    if (height, width) == layer.kernel_size:
        return None
    smaller = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        (height, width),
        stride=layer.stride,  # type: ignore[arg-type]
        padding=(vertical, horizontal),
        dilation=layer.dilation,  # type: ignore[arg-type]
        groups=layer.groups,
        bias=layer.bias is not None,
        device="meta",
    )
    weight = layer.weight.detach()[:, :, top : top + height, left : left + width]
    smaller.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    smaller.bias = layer.bias
    return smaller.train(layer.training)
