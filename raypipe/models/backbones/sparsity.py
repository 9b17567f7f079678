"""Residual networks with sparsity denoising: "ResNet50-D" of Shi et al., Pattern Recognition 132, 2022, 108923.

After each of the four stages, features that are small compared to the others count as noise and are set to zero. The
authors' abstract states that such operators are embedded in the network. We could not read how, so the design is ours.
It is a soft threshold, the proximal operator of the L1 norm, of a learned share of each channel's mean size. It is in a
residual block, like the denoising of Xie et al., 2019 (arXiv:1812.03411). The last layer of the block starts at zero,
so that a trained network starts unchanged.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from raypipe.models.backbones.from_torchvision import from_torchvision

RESNET18, RESNET50 = from_torchvision("resnet18"), from_torchvision("resnet50")
START = -2.0
"""Initial value of the thresholds before the softplus: about an eighth of the mean size."""


class SparsityDenoising(nn.Module):
    """Residual block that passes features above a soft threshold through a 1x1 convolution and adds the result.

    Parameters
    ----------
    channels
        Number of channels of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.full((1, channels, 1, 1), START))
        self.mix = nn.Conv2d(channels, channels, 1)
        for parameter in self.mix.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        """Return the denoised features (n, channels, h, w)."""
        least = nn.functional.softplus(self.threshold) * features.abs().mean((2, 3), keepdim=True)
        kept = features.sign() * (features.abs() - least).clamp_min(0)
        denoised: Tensor = features + self.mix(kept)
        return denoised


def _add_denoising(network: nn.Module) -> nn.Module:
    """Add a denoising block after each stage of a torchvision ResNet. Its weights keep their names."""
    for name in ("layer1", "layer2", "layer3", "layer4"):
        stage = getattr(network, name)
        last = list(stage[-1].children())
        channels = [part.num_features for part in last if isinstance(part, nn.BatchNorm2d)][-1]
        stage.append(SparsityDenoising(channels))
    return network


def build_resnet18(num_classes: int) -> nn.Module:
    """Return ResNet-18 with denoising blocks, newly initialized."""
    return _add_denoising(RESNET18.build(num_classes))


def build_resnet50(num_classes: int) -> nn.Module:
    """Return ResNet-50 with denoising blocks, newly initialized."""
    return _add_denoising(RESNET50.build(num_classes))


ADDED = (".threshold", ".mix.")
RESNET18_D = replace(RESNET18, build=build_resnet18, added=ADDED)
RESNET50_D = replace(RESNET50, build=build_resnet50, added=ADDED)
