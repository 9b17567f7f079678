"""Input transforms: layers around a network that change the image.

They are part of the model, and white-box attacks go through them. Each has settings, which a checkpoint stores, and a
layer whose inputs are images and the function that classifies them. To add one, add a file with both, and its line
here.
"""

from typing import Annotated

from torch import nn

from raypipe.base.settings import choose_by, get_default_name
from raypipe.models.transforms.bit_depth import BitDepth, ReducedBitDepth
from raypipe.models.transforms.gan_projection import GanProjection, Projection
from raypipe.models.transforms.gaussian_smoothing import GaussianSmoothing, SmoothedPrediction

_SETTINGS = {get_default_name(settings): settings for settings in (BitDepth, GaussianSmoothing, GanProjection)}
InputTransform = Annotated[BitDepth | GaussianSmoothing | GanProjection, choose_by("name", _SETTINGS)]
"""Settings of an input transform. A field of this type takes ``{"name": "bit_depth", ...}``."""


def build_input_transform(input_transform: InputTransform) -> nn.Module:
    """Return the layer that settings describe."""
    match input_transform:
        case BitDepth():
            return ReducedBitDepth(input_transform)
        case GaussianSmoothing():
            return SmoothedPrediction(input_transform)
        case GanProjection():
            return Projection(input_transform)
