"""Backbones by name. To add one: a file with a `BACKBONE`, and its line here."""

from raypipe.models import convnet, googlenet, resnet18, shufflenet, sparsity
from raypipe.models.backbone import Backbone

BACKBONES: dict[str, Backbone] = {
    "convnet": convnet.BACKBONE,
    "googlenet": googlenet.BACKBONE,
    "resnet18": resnet18.BACKBONE,
    "resnet18_d": sparsity.RESNET18_D,
    "resnet50_d": sparsity.RESNET50_D,
    "shufflenet_v2_x1_0": shufflenet.BACKBONE,
}
