"""Darknet-53 (Redmon and Farhadi, 2018, arXiv:1804.02767), the backbone of YOLOv3, from timm."""

from raypipe.models.backbones.from_timm import from_timm

BACKBONE = from_timm("darknet53")
