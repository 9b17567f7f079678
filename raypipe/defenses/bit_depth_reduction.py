"""Bit-depth reduction (Xu, Evans and Qi, 2018, arXiv:1704.01155): round the pixels before the network reads them.

Rounding has no useful gradient. With a zero gradient, attacks fail without the model being robust (Athalye, Carlini and
Wagner, 2018, arXiv:1802.00420, and He et al., 2017, arXiv:1706.04701). By default adaptive attacks treat the rounding
as the identity. With ``gradient: zero`` the defense is a known-weak control that the sanity checks have to detect.
"""

from typing import Literal

from pydantic import Field

from raypipe.defenses.base import Defense
from raypipe.models.transforms.bit_depth import BitDepth


class BitDepthReduction(Defense):
    """Settings of bit-depth reduction.

    Parameters
    ----------
    bits
        Bits that are kept of the 8 bits of each value.
    gradient
        See `raypipe.models.transforms.bit_depth.BitDepth`: ``straight_through``, or ``zero`` for a known-weak control.
    epochs
        Epochs of fine-tuning on rounded clean tiles; with 0 the undefended model is used as it is, as its authors do.
    """

    name: Literal["bit_depth_reduction"] = "bit_depth_reduction"
    bits: int = Field(4, ge=1, le=7)
    gradient: Literal["straight_through", "zero"] = "straight_through"
    epochs: int = Field(0, ge=0)

    def input_transform(self) -> BitDepth:
        """Return the rounding."""
        return BitDepth(bits=self.bits, gradient=self.gradient)
