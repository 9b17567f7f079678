"""A small network without batch normalization, after the small one of Gowal et al., 2018 (arXiv:1810.12715).

It has two convolutions and two linear layers. It can be trained through interval bounds, and is the only backbone here
on which they prove anything. It departs from the paper in two ways: twice the channels, and an average over a 4x4 grid
instead of a layer for each image size.
"""

from torch import nn

from raypipe.models.backbones.base import Backbone

GRID = 4


def build(num_classes: int) -> nn.Module:
    """Return the newly initialized network."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(GRID),
        nn.Flatten(),
        nn.Linear(64 * GRID * GRID, 100),
        nn.ReLU(),
        nn.Linear(100, num_classes),
    )


BACKBONE = Backbone(build)
