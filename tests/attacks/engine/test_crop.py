"""Kernels are cropped to the values that meet the feature map, and the network computes the same."""

import copy

import pytest
import torch
from torch import Tensor, nn

from raypipe.attacks.engine.crop import crop_kernels, find_useful_part, measure_cropped


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "dilation", "expected"),
    [
        (1, 3, 1, 1, 1, (1, 1, 0)),
        (2, 3, 2, 1, 1, (1, 2, 0)),
        (2, 7, 1, 3, 1, (2, 3, 1)),
        (2, 3, 1, 1, 1, (0, 3, 1)),
        (8, 3, 1, 1, 1, (0, 3, 1)),
        (1, 3, 1, 2, 2, (1, 1, 0)),
        (4, 2, 3, 1, 1, (0, 2, 1)),
    ],
)
def test_the_part_of_a_kernel_that_meets_the_map(
    size: int, kernel: int, stride: int, padding: int, dilation: int, expected: tuple[int, int, int]
) -> None:
    assert find_useful_part(size, kernel, stride, padding, dilation) == expected


@pytest.mark.parametrize("size", range(1, 7))
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "padding", "dilation"), [(3, 1, 1), (5, 2, 1), (7, 3, 1), (3, 2, 2), (5, 3, 1)])
def test_a_cropped_convolution_computes_the_same(
    size: int, stride: int, kernel: int, padding: int, dilation: int
) -> None:
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Conv2d(4, 6, kernel, stride, padding, dilation, groups=2)).double()
    cropped, maps = copy.deepcopy(whole), torch.randn(2, 4, size, size + 1, dtype=torch.float64)
    crop_kernels(cropped, measure_cropped(cropped, maps))
    torch.testing.assert_close(cropped(maps), whole(maps))
    assert cropped[0].weight.numel() <= whole[0].weight.numel()


class Twice(nn.Module):
    """A network that uses one convolution on maps of two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        return self.convolution(self.convolution(images).mean((2, 3), keepdim=True))


def test_a_convolution_of_maps_of_two_sizes_stays_whole() -> None:
    network = Twice()
    crop_kernels(network, measure_cropped(network, torch.rand(1, 3, 8, 8)))
    assert network.convolution.kernel_size == (3, 3)
