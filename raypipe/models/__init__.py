"""Backbones by name. To add one: a file with a `BACKBONE`, and its line here."""

from raypipe.models import googlenet, resnet18, shufflenet
from raypipe.models.backbone import Backbone

BACKBONES: dict[str, Backbone] = {
    "googlenet": googlenet.BACKBONE,
    "resnet18": resnet18.BACKBONE,
    "shufflenet_v2_x1_0": shufflenet.BACKBONE,
}
