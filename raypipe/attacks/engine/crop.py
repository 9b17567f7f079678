"""The removal of kernel values that meet nothing but padding.

Where a feature map is smaller than a kernel reaches, parts of the kernel only ever multiply zeros. The last
convolutions of ResNet-18 see maps of 1 x 1 values if tiles have 32 pixels: there 8 of 9 values of a kernel do nothing,
but are read and multiplied in every pass.
"""

from collections import defaultdict

import torch
from torch import Tensor, nn


def crop_kernels(network: nn.Module, tiles: Tensor) -> None:
    """Crop the kernels of a network to the values that meet its feature maps, in place. Its function stays the same.

    Parameters
    ----------
    network
        Network whose feature maps depend on the shape of the tiles only, such as a traced one.
    tiles
        (n, channels, h, w) tiles of the shape that the network will always get.
    """
    sizes: dict[nn.Conv2d, set[tuple[int, ...]]] = defaultdict(set)

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes[layer].add(tuple(inputs[0].shape[2:]))  # type: ignore[index]  # hooked to convolutions only

    hooks = [
        layer.register_forward_pre_hook(note)
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    ]
    try:
        with torch.no_grad():
            network(tiles)
    finally:
        for hook in hooks:
            hook.remove()
    cropped = {layer: _crop(layer, *shapes) for layer, shapes in sizes.items() if len(shapes) == 1}
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Conv2d) and cropped.get(layer) is not None:
                setattr(parent, name, cropped[layer])


def useful_part(size: int, kernel: int, stride: int, padding: int, dilation: int) -> tuple[int, int, int]:
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


def _crop(layer: nn.Conv2d, shape: tuple[int, ...]) -> nn.Conv2d | None:
    """Return a convolution with a smaller kernel and the same outputs for maps of a shape; None if there is none."""
    settings = zip(shape, layer.kernel_size, layer.stride, layer.padding, layer.dilation, strict=True)
    parts = [useful_part(*axis) for axis in settings]  # type: ignore[arg-type]  # the padding is no string here
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
