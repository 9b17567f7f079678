"""What a defense is to the rest of the package.

Settings that say what is trained on what, what every training step minimises, from which network it starts, which layer
is put around it, and, where the defense proves something, how that is certified. What a defense does not say is as in
the training of the clean model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from raypipe.attacks.attack import Norm
from raypipe.models.classifier import Classifier
from raypipe.models.fronts import Front
from raypipe.settings import Settings
from raypipe.training.objective import TILES, Objective, Shows, smoothed_cross_entropy
from raypipe.training.recipe import Recipe

Choice = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Indices of clean training tiles, and of perturbed ones."""
ABSTAINED = -1
"""The prediction for a tile of which a certificate says nothing."""


@dataclass(frozen=True, eq=False)
class Certified:
    """What is proved of a model, one entry a tile.

    Parameters
    ----------
    prediction
        (n,) the class that is proved, or `ABSTAINED`.
    radius
        (n,) no perturbation of at most this size changes it, in the norm that the defense certifies; pixels in [0, 1].
    forwards
        (n,) passes spent.
    """

    prediction: NDArray[np.int64]
    radius: NDArray[np.float64]
    forwards: NDArray[np.int64]


class NamedDefense(Settings):
    """The base of every defense's settings.

    Parameters
    ----------
    name
        Which defense.
    epochs
        Of its training, which starts from the clean model; 0 trains nothing.

    Attributes
    ----------
    learns_from_adversarials
        Whether it trains on tiles that an attack perturbed beforehand. If so, an experiment hardens a model once for
        each of its attacks, or once for all of them if it `mixes_attacks`; otherwise once.
    starts_anew
        Whether its training starts as that of the clean model did, instead of from the clean model.
    certifies
        The norm in which it proves something, if it does.
    """

    learns_from_adversarials: ClassVar[bool] = True
    starts_anew: ClassVar[bool] = False
    certifies: ClassVar[Norm | None] = None

    name: str
    epochs: int

    @property
    def mixes_attacks(self) -> bool:
        """Whether it learns from the tiles of all attacks of the experiment at once."""
        return False

    @property
    def keeps_best(self) -> bool:
        """Whether the epoch of the best `score` on held-out training tiles is kept, instead of the last."""
        return False

    @property
    def needs_held_out(self) -> bool:
        """Whether it compares candidates or epochs on tiles that no fit trains on."""
        return self.keeps_best or len(self.candidates()) > 1

    @property
    def steps_a_batch(self) -> int:
        """How often each batch is used before the next one."""
        return 1

    @property
    def training_work(self) -> float:
        """How many plain training steps one of its steps takes, about."""
        return 1

    @property
    def prediction_work(self) -> float:
        """How many passes through the network one of the hardened model takes."""
        return 1

    @property
    def proof_work(self) -> float:
        """How many predictions by the network a tile's certificate takes; 0 if there is none."""
        return 0

    def candidates(self) -> Sequence[Self]:
        """The settings to choose between by held-out tiles; most often these alone."""
        return [self]

    def recipe(self, base: Recipe) -> Recipe:
        """How the training is done, given how the clean model was trained."""
        return base.model_copy(update={"epochs": self.epochs})

    def choose(self, tiles: int, seed: int) -> Choice:  # noqa: ARG002  others choose at random
        """Which of so many clean and perturbed training tiles to train on."""
        return np.arange(tiles), np.arange(0)

    def refusal(self, backbone: str) -> str | None:  # noqa: ARG002  others are choosy
        """Why it cannot be applied to a backbone; None if it can."""
        return None

    def architecture(self, backbone: str) -> str:
        """The name, as in `raypipe.models.named`, of the network that it makes of a backbone; it takes over all
        parameters of the same name.
        """
        return backbone

    def front(self) -> Front | None:
        """The layer that it puts around the network."""
        return None

    def objective(self, clean: nn.Module, recipe: Recipe) -> Objective:  # noqa: ARG002  others learn from the clean model
        """What every step minimises.

        Parameters
        ----------
        clean
            The clean model, on the device, in evaluation mode.
        recipe
            The settings of this training.
        """
        return smoothed_cross_entropy(recipe.label_smoothing)

    def shows(self) -> Shows | None:
        """Return the inputs that a step shows the network; None if it does not train the network."""
        return TILES

    def score(self, model: nn.Module, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
        """How good an epoch is, larger is better, if the defense `keeps_best`.

        Parameters
        ----------
        model
            In evaluation mode.
        images, labels
            Held-out training tiles, (n, h, w, 3), and their classes, (n,).
        """
        raise NotImplementedError(f"{self.name} keeps the best epoch: expected a score")

    def certify(self, model: Classifier, images: NDArray[np.uint8], device: torch.device, seed: int) -> Certified:
        """What is proved of each tile, if the defense certifies anything.

        Parameters
        ----------
        model
            The hardened classifier, in evaluation mode, on `device`.
        images
            (n, h, w, 3).
        seed
            Of what is drawn.
        """
        raise NotImplementedError(f"{self.name} certifies in {self.certifies}: expected a certificate")
