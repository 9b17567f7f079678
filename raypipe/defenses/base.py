"""The base of each defense's settings: which network it trains, on which tiles, by which loss.

A defense overrides only what it changes. Everything else is as in the training of the undefended model.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from raypipe.attacks.base import Norm
from raypipe.base.settings import Settings
from raypipe.models.classifier import Classifier
from raypipe.models.transforms.base import Front
from raypipe.training.objective import TILES, Objective, Shows, smoothed_cross_entropy
from raypipe.training.recipe import Recipe

Choice = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Indices of clean training tiles, and of adversarial ones."""
ABSTAINED = -1
"""The prediction for a tile without a certificate."""


@dataclass(frozen=True)
class TrainingSteps:
    """The steps of a defense's training.

    Parameters
    ----------
    objective
        The loss that each step minimizes.
    inputs
        The inputs that a step shows the network; None if the network is not trained.
    repeats
        Steps on each batch before the next one, at least 1.
    score
        Rates the network, in evaluation mode, on held-out training tiles (n, h, w, 3) and their classes (n,); larger is
        better. The best epoch is kept. None: the last epoch is kept.
    """

    objective: Objective
    inputs: Shows | None = TILES
    repeats: int = 1
    score: Callable[[nn.Module, NDArray[np.uint8], NDArray[np.int64]], float] | None = None


class Defense(Settings):
    """Settings of a defense.

    Parameters
    ----------
    name
        The defense.
    epochs
        Epochs of its training, which starts from the undefended model; 0 trains nothing.

    Attributes
    ----------
    starts_anew
        True if training starts where that of the undefended model started.
    """

    starts_anew: ClassVar[bool] = False

    name: str
    epochs: int

    @property
    def needs_held_out(self) -> bool:
        """True if it compares epochs or candidates on held-out training tiles."""
        return False

    def recipe(self, base: Recipe) -> Recipe:
        """Return the recipe of its training: that of the undefended model, with the defense's own settings.

        Parameters
        ----------
        base
            The recipe of the undefended model.
        """
        return base.model_copy(update=self.model_dump(include=set(Recipe.model_fields), exclude_none=True))

    def incompatibility(self, backbone: str) -> str | None:  # noqa: ARG002  most take every backbone
        """Return the reason why it cannot be applied to a backbone, or None."""
        return None

    def architecture(self, backbone: str) -> str:
        """Return the name of the network that it makes of a backbone; it takes over parameters of the same name."""
        return backbone

    def input_transform(self) -> Front | None:
        """Return the layer that it puts before the network, or None."""
        return None

    def training(self, clean: nn.Module, recipe: Recipe) -> TrainingSteps:  # noqa: ARG002  some learn from it
        """Return the steps of its training.

        Parameters
        ----------
        clean
            The undefended model, on the device, in evaluation mode.
        recipe
            The recipe of this training.
        """
        return TrainingSteps(smoothed_cross_entropy(recipe.label_smoothing))


class StaticTraining(Defense):
    """Settings of a defense that learns adversarial tiles that attacks made beforehand."""

    @property
    def mixes_attacks(self) -> bool:
        """True if one model learns the tiles of all attacks; otherwise a model is hardened for each attack."""
        return False

    @abstractmethod
    def candidates(self) -> Sequence[Self]:
        """Return the settings to choose between on held-out tiles, at least one."""

    @abstractmethod
    def choose(self, tiles: int, seed: int) -> Choice:
        """Return the clean and the adversarial training tiles to train on.

        Parameters
        ----------
        tiles
            Number of training tiles; each exists clean and adversarial.
        seed
            Seed of a random choice.
        """

    @property
    def needs_held_out(self) -> bool:
        """True if there are candidates to compare."""
        return len(self.candidates()) > 1


@dataclass(frozen=True, eq=False)
class Certified:
    """Certificates of tiles.

    Parameters
    ----------
    prediction
        (n,) the certified class, or `ABSTAINED`.
    radius
        (n,) no perturbation of at most this size changes the prediction, in the defense's norm; pixels in [0, 1].
    forwards
        (n,) forward passes spent.
    """

    prediction: NDArray[np.int64]
    radius: NDArray[np.float64]
    forwards: NDArray[np.int64]


class CertifiedDefense(Defense):
    """Settings of a defense that gives certificates.

    Attributes
    ----------
    certified_norm
        The norm of the certified radius.
    """

    certified_norm: ClassVar[Norm]

    @abstractmethod
    def certify(self, model: Classifier, images: NDArray[np.uint8], device: torch.device, seed: int) -> Certified:
        """Return the certificate of each tile.

        Parameters
        ----------
        model
            The hardened classifier, in evaluation mode, on `device`.
        images
            (n, h, w, 3).
        device
            Device of the model.
        seed
            Seed of random draws.
        """
