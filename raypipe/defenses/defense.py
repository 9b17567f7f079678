"""What a defense is to the rest of the package: settings that say what is trained on what, and behind which layer."""

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from raypipe.models.fronts import BitDepth
from raypipe.settings import Settings
from raypipe.training.recipe import Recipe

Choice = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Indices of clean training tiles, and of perturbed ones."""


class NamedDefense(Settings):
    """The base of every defense's settings.

    Parameters
    ----------
    name
        Which defense.
    epochs
        Of its training, which starts from the clean model; 0 trains nothing.
    validation
        Share of the training groups held out to compare candidates; without several candidates nothing is held out.

    Attributes
    ----------
    learns_from_adversarials
        Whether it trains on tiles that an attack perturbed beforehand. If so, an experiment hardens a model once for
        each of its attacks; otherwise once.
    """

    learns_from_adversarials: ClassVar[bool] = True

    name: str
    epochs: int
    validation: float = 0.0

    def candidates(self) -> list[Self]:
        """The settings to choose between by held-out tiles; most often these alone."""
        return [self]

    def recipe(self, base: Recipe) -> Recipe:
        """How the training is done, given how the clean model was trained."""
        return base.model_copy(update={"epochs": self.epochs})

    def choose(self, tiles: int, seed: int) -> Choice:  # noqa: ARG002  others choose at random
        """Which of so many clean and perturbed training tiles to train on."""
        return np.arange(tiles), np.arange(0)

    def front(self) -> BitDepth | None:
        """The layer that it puts before the network."""
        return None
