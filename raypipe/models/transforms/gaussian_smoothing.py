"""Randomized smoothing: the network's average output for a tile with Gaussian noise."""

import hashlib
from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from raypipe.base.settings import Settings


class GaussianSmoothing(Settings):
    """Settings of an average over Gaussian noise (Cohen, Rosenfeld and Kolter, 2019, arXiv:1902.02918).

    Parameters
    ----------
    sigma
        Standard deviation of the noise, with pixels in [0, 1].
    samples
        Number of noise samples that a prediction averages over.
    """

    name: Literal["gaussian_smoothing"] = "gaussian_smoothing"
    sigma: float = Field(gt=0)
    samples: int = Field(ge=1)


class SmoothedPrediction(nn.Module):
    """Layer that returns the logarithm of the mean softmax output over noise samples.

    In training it adds one noise sample to each image and returns the network's output.

    The noise of an image depends on its 8-bit pixels alone. So one tile always gets the same logits, and no
    perturbation can be fitted to the noise that it will meet. Gradients are the mean over the samples. That is the
    expectation over transformation (EOT) of Athalye, Carlini and Wagner, 2018, arXiv:1802.00420, with which Salman et
    al., 2019, arXiv:1906.04584, attack smoothed classifiers.

    Parameters
    ----------
    settings
        Settings of the noise.
    """

    def __init__(self, settings: GaussianSmoothing) -> None:
        super().__init__()
        self.settings = settings

    def forward(self, images: Tensor, classify: Callable[[Tensor], Any]) -> Any:
        """Return the averaged output of `classify` for images (n, channels, h, w) in [0, 1] with noise.

        `classify` maps images to logits.
        """
        if self.training:
            return classify(images + self.settings.sigma * torch.randn_like(images))
        total = None
        for noise in self._draw_noise(images):
            chances = classify(images + noise).softmax(1) / self.settings.samples
            total = chances if total is None else total + chances
        assert total is not None  # noqa: S101  there is at least one draw
        return total.clamp_min(torch.finfo(total.dtype).tiny).log()

    def _draw_noise(self, images: Tensor) -> Tensor:
        """Return the noise of each image, (samples, n, channels, h, w)."""
        pixels = images.detach().mul(255).round().to(torch.uint8).cpu().numpy()
        drawn = []
        for tile in pixels:
            seed = int.from_bytes(hashlib.blake2b(tile.tobytes(), digest_size=6).digest())
            generator = torch.Generator().manual_seed(seed)
            drawn.append(torch.randn(self.settings.samples, *tile.shape, generator=generator))
        return self.settings.sigma * torch.stack(drawn, dim=1).to(images)
