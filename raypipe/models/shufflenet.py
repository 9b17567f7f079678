"""ShuffleNetV2, width 1.0 (Ma et al., 2018, arXiv:1807.11164) from torchvision."""

import torchvision
from torch import nn
from torchvision.models import ShuffleNet_V2_X1_0_Weights

from raypipe.models.backbone import Backbone


def build(num_classes: int) -> nn.Module:
    """ShuffleNetV2 x1.0, freshly initialised."""
    network: nn.Module = torchvision.models.shufflenet_v2_x1_0(weights=None, num_classes=num_classes)
    return network


BACKBONE = Backbone(build, head=("fc.",), torchvision_weights=ShuffleNet_V2_X1_0_Weights)
