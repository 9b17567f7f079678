"""A network behind the normalization that it was trained with."""

import torch
from torch import Tensor, nn

from raypipe.models.backbones.base import Channels


class Normalized(nn.Module):
    """A network that takes normalized images, as one that takes images in [0, 1].

    Parameters
    ----------
    network
        Network from normalized images (n, 3, h, w) to logits.
    mean, std
        Normalization per channel, on the [0, 1] scale.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Channels, std: Channels) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images (n, 3, h, w) in [0, 1]."""
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits
