"""Bit-depth reduction: every value is rounded before the network reads it."""

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from raypipe.base.settings import Settings


class BitDepth(Settings):
    """Settings of bit-depth reduction (Xu, Evans and Qi, 2018, arXiv:1704.01155, section 3.1).

    Parameters
    ----------
    bits
        Number of bits of a rounded value, 1 to 8.
    gradient
        ``straight_through``: the backward pass treats rounding as the identity, so that attacks are adaptive (BPDA,
        Athalye, Carlini and Wagner, 2018, arXiv:1802.00420, section 4.1). ``zero``: rounding keeps its own gradient,
        which is zero and hides the network's.
    """

    name: Literal["bit_depth"] = "bit_depth"
    bits: int = Field(ge=1, le=8)
    gradient: Literal["straight_through", "zero"] = "straight_through"


class ReducedBitDepth(nn.Module):
    """Layer that rounds images to the nearest of ``2 ** bits`` evenly spaced values.

    Parameters
    ----------
    settings
        Number of bits, and the gradient for attacks.
    """

    def __init__(self, settings: BitDepth) -> None:
        super().__init__()
        self.levels = 2**settings.bits - 1
        self.straight_through = settings.gradient == "straight_through"

    def forward(self, images: Tensor, classify: Callable[[Tensor], Any]) -> Any:
        """Return the output of `classify` for the rounded images, (n, channels, h, w) in [0, 1]."""
        rounded = (images * self.levels).round() / self.levels
        if self.straight_through:
            rounded = rounded + (images - images.detach())  # adds zero, and a gradient
        return classify(rounded)
