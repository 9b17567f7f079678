"""Networks that restrict how they are called: to some batch sizes or with images, or to calls without gradients."""

import torch
from torch import Tensor, nn


class LimitedBatch(nn.Module):
    """A network that takes batches of some sizes only, as a network that takes any batch.

    Parameters
    ----------
    network
        Network from images (n, channels, h, w), least <= n <= most, to logits (n, classes).
    least, most
        Smallest and largest batch that it takes; `most` is None if there is no limit.
    """

    def __init__(self, network: nn.Module, least: int, most: int | None) -> None:
        super().__init__()
        self.network = network
        self.least, self.most = least, most

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, classes) of images, n >= 0. Black images fill up a batch that is too small."""
        parts = torch.split(images, self.most or max(1, len(images)))
        return torch.cat([self._run(part) for part in parts])

    def _run(self, images: Tensor) -> Tensor:
        missing = max(0, self.least - len(images))
        filled = torch.cat([images, images.new_zeros(missing, *images.shape[1:])]) if missing else images
        logits: Tensor = self.network(filled)
        return logits[: len(images)]

    def extra_repr(self) -> str:
        """Return the limits."""
        return f"least={self.least}, most={self.most}"


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
