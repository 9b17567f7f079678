"""Sparsity denoising (Shi et al., Pattern Recognition 132, 2022, 108923): set small features of a ResNet to zero.

The undefended ResNet gets denoising blocks, see `raypipe.models.backbones.sparsity`, and is fine-tuned on clean tiles.
This is the authors' "ResNet50-D". Their "ResNet50-A-D" adds adversarial training. For it, name the backbone
`resnet50_d` in the experiment's `models`, and harden it with `pgd_training`.
"""

from typing import Literal

from pydantic import Field

from raypipe.defenses.base import Defense

DENOISED = {"resnet18": "resnet18_d", "resnet50": "resnet50_d"}


class SparsityDenoising(Defense):
    """Settings of sparsity denoising.

    Parameters
    ----------
    epochs, learning_rate
        Settings of the fine-tuning. All other settings come from ``train``.
    """

    name: Literal["sparsity_denoising"] = "sparsity_denoising"
    epochs: int = Field(3, ge=1)
    learning_rate: float = Field(5e-4, gt=0)

    def find_incompatibility(self, backbone: str) -> str | None:
        """Return the reason why there are no denoising blocks for a backbone, or None."""
        return None if backbone in DENOISED else f"denoising blocks go into {' and '.join(DENOISED)}, not {backbone}"

    def choose_architecture(self, backbone: str) -> str:
        """Return the name of the backbone with denoising blocks."""
        return DENOISED[backbone]
