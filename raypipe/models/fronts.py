"""Layers before a network that change the image itself; they are part of the model, and are attacked with it."""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from raypipe.settings import Settings


class BitDepth(Settings):
    """Rounds every value to `bits` bits (Xu, Evans and Qi, 2018, arXiv:1704.01155, section 3.1)."""

    name: Literal["bit_depth"] = "bit_depth"
    bits: int = Field(ge=1, le=8)


class ReducedBitDepth(nn.Module):
    """Images (n, channels, h, w) in [0, 1] to the nearest of ``2 ** bits`` evenly spaced values; its gradient is zero.

    Parameters
    ----------
    bits
        Per value.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.levels = 2**bits - 1

    def forward(self, images: Tensor) -> Tensor:
        """Images in, images out."""
        rounded: Tensor = (images * self.levels).round() / self.levels
        return rounded


def build_front(front: BitDepth | None) -> nn.Module:
    """The layer that settings describe; one that changes nothing if there are none."""
    return ReducedBitDepth(front.bits) if front else nn.Identity()
