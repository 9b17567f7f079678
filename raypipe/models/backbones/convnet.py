"""A small network without batch normalisation, after the small one of Gowal et al., 2018 (arXiv:1810.12715).

Two convolutions and two linear layers: what interval bounds can be trained through, and the only backbone here on which
they prove anything. Departures: twice the channels, and an average over a 4x4 grid instead of a layer for each size.
"""

from torch import nn

from raypipe.models.backbones.base import Backbone

GRID = 4


def build(num_classes: int) -> nn.Module:
    """The network, freshly initialised."""
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
