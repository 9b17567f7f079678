"""The figures of one contestant on one set of tiles."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
from torch import Tensor

from raypipe.base.norms import StoredNorm


@dataclass(frozen=True)
class EightBit:
    """The figures of 8-bit images from `raypipe.attacks.engine.generate` on these tiles; norms are over successes."""

    success: float
    l2_mean: float | None
    l2_median: float | None
    linf_max: float | None
    milliseconds: float
    forwards: float
    backwards: float


@dataclass
class Row:
    """The figures of one contestant on one set of tiles. Lists of tiles follow the order of the subject's tiles.

    Parameters
    ----------
    tiles
        Number of tiles, from the subject's first.
    error
        Error that stopped it; then there are no figures.
    cut_off
        Number of tiles that the time limit ended. They count as failed, and the time is a lower bound.
    milliseconds
        CPU milliseconds per image, one figure per round.
    forwards, backwards
        Passes per image.
    floor
        CPU milliseconds per image of as many passes in full batches of the prepared model, per round; raypipe's own
        only.
    passes_alone
        CPU milliseconds per image of its passes in batches of its own sizes, per round.
    batch_size
        Largest batch that it makes; raypipe's own only.
    success, success8
        True for each returned image that the plain model misclassifies, unchanged and rounded to 8 bits.
    on_target
        Share of the images that are classified as the most likely wrong class.
    l0, l2, linf
        Distortion of each returned image, successful or not.
    within_budget
        Shortest adversarial perturbation of each tile that any pass within the budget saw, in the family's norm.
    eight_bit
        Figures of the 8-bit images; raypipe's own only.
    images
        Returned images; not part of the record.
    """

    victim: str
    attack: str
    library: str
    label: str
    tiles: int
    settings: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    cut_off: int = 0
    milliseconds: list[float] = field(default_factory=list)
    forwards: float = 0.0
    backwards: float = 0.0
    floor: list[float] = field(default_factory=list)
    passes_alone: list[float] = field(default_factory=list)
    batch_size: int | None = None
    success: list[bool] = field(default_factory=list)
    success8: list[bool] = field(default_factory=list)
    on_target: float = 0.0
    l0: list[float] = field(default_factory=list)
    l2: list[float] = field(default_factory=list)
    linf: list[float] = field(default_factory=list)
    within_budget: list[float] = field(default_factory=list)
    eight_bit: EightBit | None = None
    images: Tensor | None = None

    @property
    def time(self) -> float:
        """Median over its rounds, in CPU milliseconds per image."""
        return median(self.milliseconds)

    @property
    def over_floor(self) -> float | None:
        """Time as a multiple of its floor."""
        return _ratio(self.milliseconds, self.floor)

    @property
    def over_passes(self) -> float | None:
        """Time as a multiple of that of its passes alone."""
        return _ratio(self.milliseconds, self.passes_alone)

    @property
    def asr(self) -> float:
        """Share of its images that are misclassified."""
        return float(np.mean(self.success))

    @property
    def asr8(self) -> float:
        """Share of its images that are misclassified after rounding to 8 bits."""
        return float(np.mean(self.success8))

    def lengths(self, norm: StoredNorm) -> list[float]:
        """Return the distortion of each image."""
        return {"l0": self.l0, "l2": self.l2, "linf": self.linf}[norm]

    def typical(self, norm: StoredNorm) -> tuple[float, float] | None:
        """Return the mean and median distortion over successes."""
        lengths = [length for length, success in zip(self.lengths(norm), self.success, strict=True) if success]
        return (float(np.mean(lengths)), median(lengths)) if lengths else None


def _ratio(times: Sequence[float], others: Sequence[float]) -> float | None:
    return median(a / b for a, b in zip(times, others, strict=True)) if others else None
