"""DenseNet-121 (Huang et al., 2017, arXiv:1608.06993) from torchvision."""

from raypipe.models.backbones.from_torchvision import from_torchvision

BACKBONE = from_torchvision("densenet121")
