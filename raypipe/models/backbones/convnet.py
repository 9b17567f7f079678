"""Small networks without batch normalization, after the small and medium ones of Gowal et al., 2018 (arXiv:1810.12715).

They can be trained through interval bounds, and are the only backbones here on which these prove anything. The small
one has two convolutions and two linear layers, the medium one four and three. Both depart from the paper in an average
over a grid instead of a layer for each image size, and the small one has twice the channels.
"""

from torch import nn

from raypipe.models.backbones.base import Backbone

GRID = 4


def build_small(num_classes: int) -> nn.Module:
    """Return the newly initialized small network."""
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


def build_medium(num_classes: int) -> nn.Module:
    """Return the newly initialized medium network."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=1, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=1, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(GRID),
        nn.Flatten(),
        nn.Linear(64 * GRID * GRID, 512),
        nn.ReLU(),
        nn.Linear(512, 512),
        nn.ReLU(),
        nn.Linear(512, num_classes),
    )


SMALL = Backbone(build_small)
MEDIUM = Backbone(build_medium)
