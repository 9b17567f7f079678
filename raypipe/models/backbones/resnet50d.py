"""ResNet-50-D (He et al., 2019, arXiv:1812.01187) from timm, with another stem and other shortcuts than ResNet-50.

Do not confuse it with `resnet50_d`, which is ResNet-50 with denoising blocks.
"""

from raypipe.models.backbones.from_timm import from_timm

BACKBONE = from_timm("resnet50d")
