"""Stain augmentation (Tellez et al., 2019, arXiv:1902.06543): learn tiles of other stains, scanners and slides.

Training continues on clean tiles with a strong jitter of the stains, and with natural corruptions of random severities.
No attack takes part. Measure it beside adversarial training: it prepares a model for another laboratory, and shows how
much of that helps against an adversary.

Difference from the paper: the corruptions, with which raypipe also tests models. Accuracy on corruptions that a model
has learned says little about others. Leave those out of `corruptions` that shall stand for the unknown.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from raypipe.corruptions import CORRUPTIONS
from raypipe.corruptions.choice import CorruptionNames
from raypipe.data.stains import jitter_stains
from raypipe.defenses.base import Defense, TrainingSteps
from raypipe.training.objective import InputRule, StepInputs, StepLoss, smoothed_cross_entropy
from raypipe.training.recipe import Recipe


class StainAugmentation(Defense):
    """Settings of stain augmentation.

    Parameters
    ----------
    stain_strength
        Half the range of the random factors of each stain, around 1, and of its shifts, around 0, as optical densities,
        in [0, 1). The default is the strong jitter of the publication; ``train`` jitters by 0.05. 0 means no jitter.
    corruptions
        Corruptions of the training tiles: ``pathology`` for all that `raypipe.corruptions` has, or a list of names. An
        empty list leaves the stains' jitter alone.
    corrupted_share
        Probability that a tile of a step is corrupted, in [0, 1]. The corruption is drawn from `corruptions`.
    largest_severity
        Largest severity of the corruptions, 1 to 5. Each tile's severity is drawn from 1 to this one.
    epochs, learning_rate
        Settings of the training, which starts from the undefended model. All other settings come from ``train``.
    """

    name: Literal["stain_augmentation"] = "stain_augmentation"
    stain_strength: float = Field(0.2, ge=0, lt=1)
    corruptions: CorruptionNames = tuple(CORRUPTIONS)
    corrupted_share: float = Field(0.5, ge=0, le=1)
    largest_severity: int = Field(5, ge=1, le=5)
    epochs: int = Field(3, ge=1)
    learning_rate: float = Field(5e-4, gt=0)

    def prepare_training(self, clean: nn.Module, recipe: Recipe, start: nn.Module) -> TrainingSteps:  # noqa: ARG002  The form.
        """Return steps on the cross-entropy of changed tiles."""
        score = smoothed_cross_entropy(recipe.label_smoothing)

        def minimize(model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> StepLoss:
            return score(model, self.change(images), labels, progress)

        def make(model: nn.Module, images: Tensor, labels: Tensor) -> StepInputs:  # noqa: ARG001  The rule's form.
            return StepInputs(self.change(images))

        return TrainingSteps(minimize, InputRule("tiles with other stains and natural corruptions", make))

    @torch.no_grad()
    def change(self, images: Tensor) -> Tensor:
        """Return images with jittered stains and random corruptions, drawn from PyTorch's global generator.

        Parameters
        ----------
        images
            (n, 3, h, w), float32 in [0, 1].
        """
        # Half precision is too coarse for optical densities.
        with torch.autocast(images.device.type, enabled=False):
            if self.stain_strength:
                factors, shifts = (self.stain_strength * (2 * torch.rand(2, len(images), 3) - 1)).to(images)
                images = jitter_stains(images, 1 + factors, shifts)
            return self._corrupt(images) if self.corruptions else images

    def _corrupt(self, images: Tensor) -> Tensor:
        """Return images of which a share has one corruption each."""
        count, kinds = len(images), len(self.corruptions)
        chosen = torch.rand(count) < self.corrupted_share
        kind = torch.randint(kinds, (count,))
        severity = torch.randint(1, self.largest_severity + 1, (count,))
        seeds = torch.randint(2**48, (count,))
        changed = images.clone()
        for number, level in sorted(set(zip(kind[chosen].tolist(), severity[chosen].tolist(), strict=True))):
            rows = (chosen & (kind == number) & (severity == level)).nonzero()[:, 0]
            draws = [torch.Generator().manual_seed(seed) for seed in seeds[rows].tolist()]
            places = rows.to(images.device)
            changed[places] = CORRUPTIONS[self.corruptions[number]].corrupt(images[places], level, draws)
        return changed
