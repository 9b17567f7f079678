"""Bit-depth reduction, a feature squeezer (Xu, Evans and Qi, 2018, arXiv:1704.01155): round the pixels, then classify.

Rounding has no gradient. With its own, gradient attacks are blind, and that looks like robustness (Athalye, Carlini and
Wagner, 2018, arXiv:1802.00420, and He et al., 2017, arXiv:1706.04701). By default attacks take it for the identity and
go through it. With ``gradient: zero`` it stands for the defenses that an evaluation must not believe; the sanity checks
are there to notice it.
"""

from typing import ClassVar, Literal

from pydantic import Field

from raypipe.defenses.defense import NamedDefense
from raypipe.models.bit_depth import BitDepth


class BitDepthReduction(NamedDefense):
    """Settings of bit-depth reduction.

    Parameters
    ----------
    bits
        Kept of the 8 bits of every value.
    gradient
        See `raypipe.models.bit_depth.BitDepth`: ``straight_through``, or ``zero`` for a known-weak control.
    epochs
        Of fine-tuning behind the rounding, on clean tiles; 0 uses the clean model as it is, as its authors do.
    """

    learns_from_adversarials: ClassVar[bool] = False

    name: Literal["bit_depth_reduction"] = "bit_depth_reduction"
    bits: int = Field(4, ge=1, le=7)
    gradient: Literal["straight_through", "zero"] = "straight_through"
    epochs: int = Field(0, ge=0)

    def front(self) -> BitDepth:
        """The rounding."""
        return BitDepth(bits=self.bits, gradient=self.gradient)
