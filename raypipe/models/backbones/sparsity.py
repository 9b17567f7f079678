"""Residual networks with sparsity denoising inside: "ResNet50-D" of Shi et al., Pattern Recognition 132, 2022, 108923.

After each of the four stages, features that are small beside the others are taken for noise and set to zero. The
authors' abstract says that such operators are embedded in the network; how, we could not read, and it is ours: a soft
threshold, the proximal operator of the L1 norm, of a learned share of each channel's mean size, in a residual block as
Xie et al., 2019 (arXiv:1812.03411) put their denoising into one. Its last layer starts at zero, so that a network that
is trained already begins as what it was.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from raypipe.models.backbones import resnet

START = -2.0
"""Of the thresholds before the softplus: about an eighth of the mean size."""


class SparsityDenoising(nn.Module):
    """Adds to features what is left of them above a soft threshold, through a 1x1 convolution.

    Parameters
    ----------
    channels
        Of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.full((1, channels, 1, 1), START))
        self.mix = nn.Conv2d(channels, channels, 1)
        for parameter in self.mix.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, channels, h, w) in and out."""
        least = nn.functional.softplus(self.threshold) * features.abs().mean((2, 3), keepdim=True)
        kept = features.sign() * (features.abs() - least).clamp_min(0)
        denoised: Tensor = features + self.mix(kept)
        return denoised


def _denoised(network: nn.Module) -> nn.Module:
    """A torchvision ResNet with a denoising block after each stage, under the names that its weights have."""
    for name in ("layer1", "layer2", "layer3", "layer4"):
        stage = getattr(network, name)
        last = list(stage[-1].children())
        channels = [part.num_features for part in last if isinstance(part, nn.BatchNorm2d)][-1]
        stage.append(SparsityDenoising(channels))
    return network


def build_resnet18(num_classes: int) -> nn.Module:
    """ResNet-18 with denoising, freshly initialised."""
    return _denoised(resnet.RESNET18.build(num_classes))


def build_resnet50(num_classes: int) -> nn.Module:
    """ResNet-50 with denoising, freshly initialised."""
    return _denoised(resnet.RESNET50.build(num_classes))


ADDED = (".threshold", ".mix.")
RESNET18_D = replace(resnet.RESNET18, build=build_resnet18, added=ADDED)
RESNET50_D = replace(resnet.RESNET50, build=build_resnet50, added=ADDED)
