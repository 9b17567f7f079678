"""ResNet-18 (He et al., 2015, arXiv:1512.03385) from torchvision."""

import torchvision
from torch import nn
from torchvision.models import ResNet18_Weights

from raypipe.models.backbone import Backbone


def build(num_classes: int) -> nn.Module:
    """ResNet-18, freshly initialised."""
    network: nn.Module = torchvision.models.resnet18(weights=None, num_classes=num_classes)
    return network


BACKBONE = Backbone(build, head=("fc.",), torchvision_weights=ResNet18_Weights)
