"""GoogLeNet (Szegedy et al., 2014, arXiv:1409.4842) from torchvision, with its auxiliary heads in training."""

from raypipe.models.backbones.from_torchvision import from_torchvision

BACKBONE = from_torchvision("googlenet")
