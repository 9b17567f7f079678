"""ResNet-18 and ResNet-50 (He et al., 2015, arXiv:1512.03385) from torchvision."""

from raypipe.models.backbones.from_torchvision import from_torchvision

RESNET18 = from_torchvision("resnet18")
RESNET50 = from_torchvision("resnet50")
