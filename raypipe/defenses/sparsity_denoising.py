"""Sparsity denoising inside the network (Shi et al., Pattern Recognition 132, 2022, 108923): their "ResNet50-D".

The clean ResNet gets denoising blocks, see `raypipe.models.sparsity`, and is fine-tuned on clean tiles. With
adversarial training besides, "ResNet50-A-D", name the backbone `resnet50_d` in the experiment's `models`, and harden it
with `pgd_training`.
"""

from typing import ClassVar, Literal

from pydantic import Field

from raypipe.defenses.defense import NamedDefense
from raypipe.training.recipe import Recipe

DENOISED = {"resnet18": "resnet18_d", "resnet50": "resnet50_d"}


class SparsityDenoising(NamedDefense):
    """Settings of sparsity denoising.

    Parameters
    ----------
    epochs, learning_rate
        Of the fine-tuning, which starts from the clean model; everything else is as in ``train``.
    """

    learns_from_adversarials: ClassVar[bool] = False

    name: Literal["sparsity_denoising"] = "sparsity_denoising"
    epochs: int = Field(3, ge=1)
    learning_rate: float = Field(5e-4, gt=0)

    def refusal(self, backbone: str) -> str | None:
        """Why it has no blocks for a backbone."""
        return None if backbone in DENOISED else f"denoising blocks go into {' and '.join(DENOISED)}, not {backbone}"

    def architecture(self, backbone: str) -> str:
        """The same with blocks."""
        return DENOISED[backbone]

    def recipe(self, base: Recipe) -> Recipe:
        """How the fine-tuning is done, given how the clean model was trained."""
        return base.model_copy(update={"epochs": self.epochs, "learning_rate": self.learning_rate})
