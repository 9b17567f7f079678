"""Backbones by name. A new one is a file with a `BACKBONE`, or one line here if torchvision or timm has it.

`raypipe.models.backbones.lookup` finds these and every other backbone.
"""

from raypipe.models.backbones import convnet, efficientnet_lite0, sparsity
from raypipe.models.backbones.base import Backbone
from raypipe.models.backbones.from_timm import from_timm
from raypipe.models.backbones.from_torchvision import from_torchvision

BACKBONES: dict[str, Backbone] = {
    "convnet": convnet.SMALL,
    "convnet_medium": convnet.MEDIUM,
    "darknet53": from_timm("darknet53"),  # Redmon and Farhadi, 2018, arXiv:1804.02767
    "densenet121": from_torchvision("densenet121"),  # Huang et al., 2017, arXiv:1608.06993
    "efficientnet_lite0": efficientnet_lite0.BACKBONE,
    "googlenet": from_torchvision("googlenet"),  # Szegedy et al., 2014, arXiv:1409.4842; auxiliary heads in training
    "resnet18": from_torchvision("resnet18"),  # He et al., 2015, arXiv:1512.03385
    "resnet18_d": sparsity.RESNET18_D,
    "resnet50": from_torchvision("resnet50"),
    "resnet50_d": sparsity.RESNET50_D,
    # He et al., 2019, arXiv:1812.01187: another stem and other shortcuts than ResNet-50, and no denoising blocks.
    "resnet50d": from_timm("resnet50d"),
    "shufflenet_v2_x0_5": from_torchvision("shufflenet_v2_x0_5"),  # Ma et al., 2018, arXiv:1807.11164
    "shufflenet_v2_x1_0": from_torchvision("shufflenet_v2_x1_0"),
    "shufflenet_v2_x1_5": from_torchvision("shufflenet_v2_x1_5"),
    "shufflenet_v2_x2_0": from_torchvision("shufflenet_v2_x2_0"),
}
