"""ShuffleNetV2 in its four widths (Ma et al., 2018, arXiv:1807.11164) from torchvision."""

from raypipe.models.backbones.from_torchvision import from_torchvision

X0_5 = from_torchvision("shufflenet_v2_x0_5")
X1_0 = from_torchvision("shufflenet_v2_x1_0")
X1_5 = from_torchvision("shufflenet_v2_x1_5")
X2_0 = from_torchvision("shufflenet_v2_x2_0")
