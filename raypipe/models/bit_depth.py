"""Bit-depth reduction: every value is rounded before the network sees it."""

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from raypipe.settings import Settings


class BitDepth(Settings):
    """Rounds every value to `bits` bits (Xu, Evans and Qi, 2018, arXiv:1704.01155, section 3.1)."""

    name: Literal["bit_depth"] = "bit_depth"
    bits: int = Field(ge=1, le=8)


class ReducedBitDepth(nn.Module):
    """Images to the nearest of ``2 ** bits`` evenly spaced values; its gradient is zero.

    Parameters
    ----------
    settings
        How many bits.
    """

    def __init__(self, settings: BitDepth) -> None:
        super().__init__()
        self.levels = 2**settings.bits - 1

    def forward(self, images: Tensor, classify: Callable[[Tensor], Any]) -> Any:
        """What `classify` says of the rounded images, (n, channels, h, w) in [0, 1]."""
        return classify((images * self.levels).round() / self.levels)
