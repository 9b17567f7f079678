"""Bit-depth reduction (Xu, Evans and Qi, 2018, arXiv:1704.01155): round the pixels before the network reads them.

Rounding has no useful gradient. With a zero gradient, attacks fail although the model is not robust (Athalye, Carlini
and Wagner, 2018, arXiv:1802.00420, and He et al., 2017, arXiv:1706.04701). By default adaptive attacks treat the
rounding as the identity. With ``gradient: zero`` the defense is a known-weak control, which the sanity checks must
detect.
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
        Number of bits that are kept of the 8 bits of each value.
    gradient
        Gradient of the rounding: ``straight_through``, or ``zero`` for a known-weak control. See
        `raypipe.models.transforms.bit_depth.BitDepth`.
    epochs
        Number of epochs of fine-tuning on rounded clean tiles. With 0 the undefended model stays unchanged, as in the
        authors' work.
    """

    name: Literal["bit_depth_reduction"] = "bit_depth_reduction"
    bits: int = Field(4, ge=1, le=7)
    gradient: Literal["straight_through", "zero"] = "straight_through"
    epochs: int = Field(0, ge=0)

    def build_input_transform(self) -> BitDepth:
        """Return the rounding."""
        return BitDepth(bits=self.bits, gradient=self.gradient)
