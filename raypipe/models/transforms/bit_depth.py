"""Bit-depth reduction: every value is rounded before the network sees it."""

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from raypipe.base.settings import Settings


class BitDepth(Settings):
    """Rounding of every value to `bits` bits (Xu, Evans and Qi, 2018, arXiv:1704.01155, section 3.1).

    Parameters
    ----------
    bits
        Bits that are kept, 1 to 8.
    gradient
        ``straight_through``: attacks take rounding for the identity on the way back and are adaptive (BPDA, Athalye,
        Carlini and Wagner, 2018, arXiv:1802.00420, section 4.1). ``zero``: its own gradient, which hides the network's.
    """

    name: Literal["bit_depth"] = "bit_depth"
    bits: int = Field(ge=1, le=8)
    gradient: Literal["straight_through", "zero"] = "straight_through"


class ReducedBitDepth(nn.Module):
    """A layer that rounds images to the nearest of ``2 ** bits`` evenly spaced values.

    Parameters
    ----------
    settings
        Bits, and the gradient that attacks see.
    """

    def __init__(self, settings: BitDepth) -> None:
        super().__init__()
        self.levels = 2**settings.bits - 1
        self.straight_through = settings.gradient == "straight_through"

    def forward(self, images: Tensor, classify: Callable[[Tensor], Any]) -> Any:
        """Return what `classify` says of the rounded images, (n, channels, h, w) in [0, 1]."""
        rounded = (images * self.levels).round() / self.levels
        if self.straight_through:
            rounded = rounded + (images - images.detach())  # which adds zero, and a gradient
        return classify(rounded)
