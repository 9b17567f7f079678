"""Static adversarial training: fine-tune on clean tiles plus tiles perturbed beforehand, with their right labels.

Szegedy et al., 2013 (arXiv:1312.6199) and, in the form reproduced here, Nisa, Suciati and Yuniarti, IPTEK 2024. The
perturbed tiles are made once, against the clean model: in training the hardened model never meets an attack on itself.
A mixture of attacks is that of Tramer and Boneh, 2019 (arXiv:1904.13000), with one attack a tile.
"""

import itertools
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from raypipe.defenses.defense import Choice, NamedDefense
from raypipe.settings import Settings
from raypipe.training.objective import TILES, Shows
from raypipe.training.recipe import Recipe

Mix = Annotated[float, Field(gt=0, le=1)]
Epochs = Annotated[int, Field(ge=1)]
LearningRate = Annotated[float, Field(gt=0)]


class Search(Settings):
    """Values to try: every combination of those given is one candidate.

    Parameters
    ----------
    mix, epochs, learning_rate
        Alternatives to the defense's own setting of that name.
    """

    mix: tuple[Mix, ...] = ()
    epochs: tuple[Epochs, ...] = ()
    learning_rate: tuple[LearningRate, ...] = ()


class AdversarialTraining(NamedDefense):
    """Settings of static adversarial training.

    Parameters
    ----------
    mix
        Share of perturbed tiles among the training tiles, in (0, 1]. At 0.5 every tile is used clean and perturbed.
    epochs, learning_rate
        Of the fine-tuning, which starts from the clean model; everything else is as in ``train``.
    search
        Candidates to compare. The best on the training's held-out tiles, clean and perturbed, is kept; test tiles are
        never looked at.
    attacks
        ``each``: the model is hardened once for each attack of the experiment, as in the paper. ``mixture``: once, on
        tiles perturbed by one of them each, drawn at random.
    """

    name: Literal["adversarial_training"] = "adversarial_training"
    mix: Mix = 0.5
    epochs: Epochs = 3
    learning_rate: LearningRate = 5e-4
    search: Search = Search()
    attacks: Literal["each", "mixture"] = "each"

    @property
    def mixes_attacks(self) -> bool:
        """Whether one model learns from all of them."""
        return self.attacks == "mixture"

    def candidates(self) -> "list[AdversarialTraining]":
        """The settings of every combination in `search`; these settings alone if there is none."""
        grid = {name: values for name, values in self.search if values}
        return [
            self.model_copy(update={"search": Search(), **dict(zip(grid, values, strict=True))})
            for values in itertools.product(*grid.values())
        ]

    def recipe(self, base: Recipe) -> Recipe:
        """How the fine-tuning is done, given how the clean model was trained.

        Flips and quarter turns stay: they move a stored perturbation together with its tile and leave its size. Color
        jitter goes, from clean tiles too: it would change what the attack stored, and on clean tiles alone it would
        tell them from the perturbed ones.
        """
        kept = tuple(name for name in base.augment if name != "hed_jitter")
        return base.model_copy(update={"epochs": self.epochs, "learning_rate": self.learning_rate, "augment": kept})

    def shows(self) -> Shows:
        """Return the training tiles, clean and perturbed."""
        return replace(TILES, inputs="clean tiles and tiles perturbed beforehand")

    def choose(self, tiles: int, seed: int) -> Choice:
        """Which clean and which perturbed tiles to train on."""
        return choose_tiles(tiles, self.mix, seed)


def choose_tiles(tiles: int, mix: float, seed: int) -> Choice:
    """Which clean and which perturbed tiles to train on: as many as can be used, `mix` of them perturbed.

    Parameters
    ----------
    tiles
        Training tiles; each exists clean and perturbed.
    mix
        Share of perturbed tiles, in (0, 1].
    seed
        Of the choice of those left out.

    Returns
    -------
    tuple of arrays
        Sorted indices of the clean tiles, and of the perturbed ones.
    """
    order = np.random.default_rng(seed).permutation(tiles)
    clean = tiles if mix <= 0.5 else round(tiles * (1 - mix) / mix)
    perturbed = tiles if mix >= 0.5 else max(1, round(tiles * mix / (1 - mix)))
    return np.sort(order[:clean]), np.sort(order[:perturbed])
