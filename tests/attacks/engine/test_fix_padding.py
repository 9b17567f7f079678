"""Fixed padding in place of padding that is computed in every pass."""

import copy

import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import get_same_padding
from torch import nn

from raypipe.attacks.engine.fix_padding import compute_same_padding, fix_padding, measure_padded


@given(st.integers(1, 300), st.integers(1, 9), st.integers(1, 5), st.integers(1, 3))
def test_the_padding_is_that_of_timm(size: int, kernel: int, stride: int, dilation: int) -> None:
    before, after = compute_same_padding(size, kernel, stride, dilation)
    assert before + after == get_same_padding(size, kernel, stride, dilation)
    assert before == (before + after) // 2


def test_a_fixed_network_computes_the_same_and_can_be_traced() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(Conv2dSame(3, 8, 3, stride=2), nn.ReLU(), Conv2dSame(8, 8, 5, stride=2, groups=8)).eval()
    fixed, tiles = copy.deepcopy(network), torch.rand(2, 3, 33, 20)
    fix_padding(fixed, measure_padded(fixed, tiles))
    assert not any(isinstance(layer, Conv2dSame) for layer in fixed.modules())
    torch.fx.symbolic_trace(fixed)
    torch.testing.assert_close(fixed(tiles), network(tiles))


def test_a_layer_that_sees_maps_of_two_sizes_stays() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = Conv2dSame(3, 3, 3, stride=2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.layer(self.layer(images))
            return found

    network = Twice()
    fix_padding(network, measure_padded(network, torch.rand(1, 3, 16, 16)))
    assert isinstance(network.layer, Conv2dSame)
