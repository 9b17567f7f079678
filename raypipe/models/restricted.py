"""Networks that restrict how they are called: to batches of one size or with images, or to calls without gradients."""

import torch
from torch import Tensor, nn


class FixedBatch(nn.Module):
    """A network that takes batches of one size only, as a network that takes any batch.

    Parameters
    ----------
    network
        Network from images (size, channels, h, w) to logits (size, classes).
    size
        Batch size that it takes.
    """

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network = network
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, classes) of images, n >= 0. Black images fill up the last batch."""
        missing = -len(images) % self.size if len(images) else self.size
        filled = torch.cat([images, images.new_zeros(missing, *images.shape[1:])])
        return torch.cat([self.network(part) for part in torch.split(filled, self.size)])[: len(images)]

    def extra_repr(self) -> str:
        """Return the size."""
        return f"size={self.size}"


class NonEmptyBatch(nn.Module):
    """A network that takes no empty batch, as a network that takes any batch. Models of transformers are such networks.

    Parameters
    ----------
    network
        Network from images (n, channels, h, w), n >= 1, to logits (n, classes).
    classes
        Number of classes.
    """

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network = network
        self.classes = classes

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, classes) of images, n >= 0."""
        if not len(images):
            return images.flatten(1).sum(1, keepdim=True).expand(-1, self.classes)  # with a graph, if images have one
        logits: Tensor = self.network(images)
        return logits


class WithoutGradient(nn.Module):
    """A network that cannot be differentiated, called without gradients so that it still gives its logits.

    Parameters
    ----------
    network
        Network from images to logits.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, classes) of images, as an ordinary tensor also from `torch.inference_mode`."""
        with torch.no_grad():
            logits: Tensor = self.network(images.detach())
            return logits.clone()
