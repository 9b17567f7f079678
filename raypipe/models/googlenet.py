"""GoogLeNet (Szegedy et al., 2014, arXiv:1409.4842) from torchvision."""

import torchvision
from torch import nn
from torchvision.models import GoogLeNet_Weights

from raypipe.models.backbone import Backbone


def build(num_classes: int) -> nn.Module:
    """GoogLeNet with its auxiliary heads, which score in training mode and are silent in evaluation mode.

    ``transform_input`` stays off: the classifier around it normalises once, with what the weights expect.
    """
    network: nn.Module = torchvision.models.googlenet(
        weights=None, num_classes=num_classes, aux_logits=True, transform_input=False, init_weights=True
    )
    return network


BACKBONE = Backbone(
    build, head=("fc.", "aux1.fc2.", "aux2.fc2."), torchvision_weights=GoogLeNet_Weights, transforms_input=True
)
