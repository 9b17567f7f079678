"""Static adversarial training (Szegedy et al., 2013, arXiv:1312.6199): learn adversarial tiles made beforehand.

The paper that raypipe reproduces uses this form (Nisa, Suciati and Yuniarti, IPTEK 2024). The adversarial tiles are
crafted once, against the undefended model, and keep their correct labels. During training no attack runs on the
hardened model itself. A mixture of attacks follows Tramer and Boneh, 2019 (arXiv:1904.13000), with one attack per tile.
"""

import itertools
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from torch import nn

from raypipe.base.settings import Settings
from raypipe.defenses.base import Choice, StaticTraining, TrainingSteps
from raypipe.training.objective import TILES
from raypipe.training.recipe import Recipe

Mix = Annotated[float, Field(gt=0, le=1)]
Epochs = Annotated[int, Field(ge=1)]
LearningRate = Annotated[float, Field(gt=0)]


class Search(Settings):
    """Values to try. Every combination of the given values is one candidate.

    Parameters
    ----------
    mix, epochs, learning_rate
        Values to try for the defense's setting of the same name.
    """

    mix: tuple[Mix, ...] = ()
    epochs: tuple[Epochs, ...] = ()
    learning_rate: tuple[LearningRate, ...] = ()


class AdversarialTraining(StaticTraining):
    """Settings of static adversarial training.

    Parameters
    ----------
    mix
        Share of adversarial tiles among the training tiles, in (0, 1]. At 0.5 every tile is used clean and perturbed.
    epochs, learning_rate
        Settings of the fine-tuning. All other settings come from ``train``.
    search
        Candidates to compare. The best candidate on the held-out training tiles, clean and perturbed, is kept. The
        search never uses test tiles.
    attacks
        Attacks of the adversarial tiles. With ``each`` the model is hardened once for each attack of the experiment, as
        in the paper. With ``mixture`` it is hardened once, on tiles that one attack each perturbs, drawn at random.
    """

    name: Literal["adversarial_training"] = "adversarial_training"
    mix: Mix = 0.5
    epochs: Epochs = 3
    learning_rate: LearningRate = 5e-4
    search: Search = Search()
    attacks: Literal["each", "mixture"] = "each"

    @property
    def mixes_attacks(self) -> bool:
        """True if the model learns a mixture of attacks."""
        return self.attacks == "mixture"

    def list_candidates(self) -> "list[AdversarialTraining]":
        """Return the settings of every combination in `search`, or these settings if there is none."""
        grid = {name: values for name, values in self.search if values}
        return [
            self.model_copy(update={"search": Search(), **dict(zip(grid, values, strict=True))})
            for values in itertools.product(*grid.values())
        ]

    def adapt_recipe(self, base: Recipe) -> Recipe:
        """Return the recipe of the fine-tuning, without color jitter.

        Flips and quarter turns stay, because they move a stored perturbation together with its tile and keep its size.
        Color jitter would change the stored perturbation. Jitter of the clean tiles only would let the model tell them
        from adversarial ones.
        """
        kept = tuple(name for name in base.augment if name != "hed_jitter")
        return super().adapt_recipe(base).model_copy(update={"augment": kept})

    def prepare_training(self, clean: nn.Module, recipe: Recipe, start: nn.Module) -> TrainingSteps:
        """Return plain training steps on clean and adversarial tiles."""
        inputs = replace(TILES, inputs="clean tiles and tiles perturbed beforehand")
        return replace(super().prepare_training(clean, recipe, start), inputs=inputs)

    def choose(self, tiles: int, seed: int) -> Choice:
        """Return the clean and the adversarial tiles to train on, with the share `mix` of adversarial ones."""
        return choose_tiles(tiles, self.mix, seed)


def choose_tiles(tiles: int, mix: float, seed: int) -> Choice:
    """Return as many clean and adversarial tiles as possible, with a share of `mix` adversarial ones.

    Parameters
    ----------
    tiles
        Number of training tiles; each exists clean and adversarial.
    mix
        Share of adversarial tiles, in (0, 1].
    seed
        Seed of the random choice of the tiles that are left out.

    Returns
    -------
    tuple of arrays
        Sorted indices of the clean tiles and of the adversarial tiles.
    """
    order = np.random.default_rng(seed).permutation(tiles)
    clean = tiles if mix <= 0.5 else round(tiles * (1 - mix) / mix)
    perturbed = tiles if mix >= 0.5 else max(1, round(tiles * mix / (1 - mix)))
    return np.sort(order[:clean]), np.sort(order[:perturbed])
