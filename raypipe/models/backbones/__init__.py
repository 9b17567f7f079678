"""Backbones by name.

To add one, add a file with a `BACKBONE`, and its line here. `named` also finds those of torchvision, timm and the user.
"""

from raypipe.models.backbones import (
    convnet,
    darknet53,
    densenet121,
    googlenet,
    resnet,
    resnet50d,
    shufflenet,
    sparsity,
)
from raypipe.models.backbones.base import Backbone

BACKBONES: dict[str, Backbone] = {
    "convnet": convnet.BACKBONE,
    "darknet53": darknet53.BACKBONE,
    "densenet121": densenet121.BACKBONE,
    "googlenet": googlenet.BACKBONE,
    "resnet18": resnet.RESNET18,
    "resnet18_d": sparsity.RESNET18_D,
    "resnet50": resnet.RESNET50,
    "resnet50_d": sparsity.RESNET50_D,
    "resnet50d": resnet50d.BACKBONE,
    "shufflenet_v2_x0_5": shufflenet.X0_5,
    "shufflenet_v2_x1_0": shufflenet.X1_0,
    "shufflenet_v2_x1_5": shufflenet.X1_5,
    "shufflenet_v2_x2_0": shufflenet.X2_0,
}
