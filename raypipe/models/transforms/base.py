"""Layers around a network that change the image itself; they are part of the model, and are attacked with it.

Each is settings, which a checkpoint keeps, and a layer that is given images and what classifies them. To add one: a
file with both, and its line here.
"""

from typing import Annotated

from pydantic import Field
from torch import nn

from raypipe.models.transforms.bit_depth import BitDepth, ReducedBitDepth
from raypipe.models.transforms.gan_projection import GanProjection, Projection
from raypipe.models.transforms.gaussian_smoothing import GaussianSmoothing, SmoothedPrediction

Front = Annotated[BitDepth | GaussianSmoothing | GanProjection, Field(discriminator="name")]
"""Settings of a layer: a field of this type takes ``{"name": "bit_depth", ...}``."""


def build_front(front: Front) -> nn.Module:
    """The layer that settings describe."""
    match front:
        case BitDepth():
            return ReducedBitDepth(front)
        case GaussianSmoothing():
            return SmoothedPrediction(front)
        case GanProjection():
            return Projection(front)
