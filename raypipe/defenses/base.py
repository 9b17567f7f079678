"""The base of each defense's settings: the network that it trains, the tiles, and the loss.

A defense overrides only the parts that it changes. All other parts equal those of the undefended model's training.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from raypipe.base.norms import Norm
from raypipe.base.settings import Settings
from raypipe.models.classifier import Classifier
from raypipe.models.transforms.base import InputTransform
from raypipe.training.objective import TILES, InputRule, Objective, smoothed_cross_entropy
from raypipe.training.recipe import Recipe

Choice = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Indices of clean training tiles and of adversarial ones."""


@dataclass(frozen=True)
class TrainingSteps:
    """The steps of a defense's training.

    Parameters
    ----------
    objective
        Loss that each step minimizes.
    inputs
        Inputs that a step shows the network; None if the network is not trained.
    repeats
        Number of steps on each batch before the next batch, at least 1.
    score
        Function that rates the network, in evaluation mode, on held-out training tiles (n, h, w, 3) and their classes
        (n,); larger is better. The epoch with the best score is kept. None means that the last epoch is kept.
    probing
        Share of the steps, in [0, 1), in which only the head learns.
    """

    objective: Objective
    inputs: InputRule | None = TILES
    repeats: int = 1
    score: Callable[[nn.Module, NDArray[np.uint8], NDArray[np.int64]], float] | None = None
    probing: float = 0.0


class Defense(Settings):
    """Settings of a defense.

    Parameters
    ----------
    name
        Name of the defense.
    epochs
        Number of epochs of its training, which starts from the undefended model; 0 means no training.
    """

    name: str
    epochs: int

    @property
    def starts_anew(self) -> bool:
        """True if training starts from the same weights as the training of the undefended model."""
        return False

    @property
    def time_limit(self) -> float | None:
        """Time in seconds that a fit may take, or None if it takes `epochs` epochs."""
        return None

    @property
    def needs_held_out(self) -> bool:
        """True if the defense compares epochs or candidates on held-out training tiles."""
        return False

    def list_candidates(self) -> Sequence[Self]:
        """Return the settings to compare on held-out tiles, or these settings if there is nothing to compare."""
        return [self]

    def adapt_recipe(self, base: Recipe) -> Recipe:
        """Return the recipe of the defense's training: the undefended model's recipe with the defense's own settings.

        Parameters
        ----------
        base
            Recipe of the undefended model.
        """
        return base.model_copy(update=self.model_dump(include=set(Recipe.model_fields), exclude_none=True))

    def find_incompatibility(self, backbone: str) -> str | None:  # noqa: ARG002  Most defenses accept every backbone.
        """Return the reason why the defense is incompatible with a backbone, or None."""
        return None

    def choose_architecture(self, backbone: str) -> str:
        """Return the name of the network to train for a backbone; it takes over parameters of the same name."""
        return backbone

    def build_input_transform(self) -> InputTransform | None:
        """Return the input transform of the defense, or None."""
        return None

    def prepare_training(self, clean: nn.Module, recipe: Recipe, start: nn.Module) -> TrainingSteps:  # noqa: ARG002  Some defenses learn from it.
        """Return the steps of the defense's training.

        Parameters
        ----------
        clean
            Undefended model, on the device, in evaluation mode.
        recipe
            Recipe of this training.
        start
            Model that this training starts from, on the device.
        """
        return TrainingSteps(smoothed_cross_entropy(recipe.label_smoothing))


class StaticTraining(Defense):
    """Settings of a defense that learns adversarial tiles crafted before its training."""

    @property
    def mixes_attacks(self) -> bool:
        """True if one model learns the tiles of all attacks. Otherwise a model is hardened for each attack."""
        return False

    @abstractmethod
    def choose(self, tiles: int, seed: int) -> Choice:
        """Return the clean and the adversarial training tiles to train on.

        Parameters
        ----------
        tiles
            Number of training tiles; each exists clean and adversarial.
        seed
            Seed of the random choice of tiles.
        """

    @property
    def needs_held_out(self) -> bool:
        """True if there are candidates to compare."""
        return list(self.list_candidates()) != [self]


@dataclass(frozen=True, eq=False)
class Certificates:
    """Certificates of tiles.

    Parameters
    ----------
    prediction
        (n,) certified classes; `raypipe.base.predictions.NO_CLASS` for a tile without a certificate.
    radius
        (n,) certified radii in the defense's norm, with pixels in [0, 1]. No perturbation of at most this size changes
        the prediction.
    forwards
        (n,) numbers of forward passes.
    """

    prediction: NDArray[np.int64]
    radius: NDArray[np.float64]
    forwards: NDArray[np.int64]


class CertifiedDefense(Defense):
    """Settings of a defense that gives certificates.

    Attributes
    ----------
    certified_norm
        Norm of the certified radius.
    """

    certified_norm: ClassVar[Norm]

    @abstractmethod
    def certify(self, model: Classifier, images: NDArray[np.uint8], device: torch.device, seed: int) -> Certificates:
        """Return the certificate of each tile.

        Parameters
        ----------
        model
            Hardened classifier, in evaluation mode, on `device`.
        images
            (n, h, w, 3) tiles, uint8.
        device
            Device of the model.
        seed
            Seed of random draws.
        """
