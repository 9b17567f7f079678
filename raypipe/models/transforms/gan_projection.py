"""Projection of Defense-GAN (Samangouei et al., 2018, arXiv:1805.06605) onto the nearest image of a generator."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.base.settings import Settings

COARSEST = 4
MOMENTUM = 0.7


class GanProjection(Settings):
    """Settings of the projection of an image onto the nearest one of a generator.

    Parameters
    ----------
    latent
        Length of the generator's input.
    channels
        Number of channels of its second-to-last layer. Earlier layers have more.
    finest
        Height and width of the generated image, a power of two. The image is resized to the tiles' size.
    restarts, steps, step_size
        Number of fixed starts, number of steps and step size of the gradient descent on the mean squared difference.
        The authors use 10, 200 and 10.
    """

    name: Literal["gan_projection"] = "gan_projection"
    latent: int = Field(ge=1)
    channels: int = Field(ge=1)
    finest: Literal[16, 32, 64, 128]
    restarts: int = Field(ge=1)
    steps: int = Field(ge=1)
    step_size: float = Field(gt=0)


class Projection(nn.Module):
    """A generator, its critic, and the search for the latent input that reproduces a given image best.

    The search has no useful gradient of its own. The backward pass treats the projection as the identity, as BPDA does
    (Athalye, Carlini and Wagner, 2018, arXiv:1802.00420, section 4.1). In training, images pass unchanged.

    Parameters
    ----------
    settings
        Sizes of the networks, and the parameters of the search.
    """

    starts: Tensor

    def __init__(self, settings: GanProjection) -> None:
        super().__init__()
        self.settings = settings
        doublings = (settings.finest // COARSEST).bit_length() - 1
        widths = [settings.channels * 2 ** min(2, level) for level in range(doublings, -1, -1)]
        self.generator = _build_generator(settings.latent, widths)
        self.critic = _build_critic(widths[::-1])
        drawn = torch.randn(settings.restarts, settings.latent, generator=torch.Generator().manual_seed(0))
        self.register_buffer("starts", drawn)

    def forward(self, images: Tensor, classify: Callable[[Tensor], Any]) -> Any:
        """Return the output of `classify` for the projections of images (n, channels, h, w) in [0, 1]."""
        if self.training:
            return classify(images)
        return classify(images + (self.project(images.detach()) - images).detach())

    def draw(self, latents: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the images (n, 3, *size) in [0, 1] of latent inputs (n, latent)."""
        drawn = self.generator(latents)
        return F.interpolate(drawn, size, mode="bilinear", align_corners=False)

    def judge(self, images: Tensor) -> Tensor:
        """Return the critic's scores (n,) of images (n, 3, h, w). They are larger for real images."""
        finest = self.settings.finest
        opinion: Tensor = self.critic(F.interpolate(images, (finest, finest), mode="bilinear", align_corners=False))
        return opinion[:, 0]

    def project(self, images: Tensor) -> Tensor:
        """Return the nearest generated images, (n, 3, h, w) in [0, 1]. Each depends on its own image alone.

        The search runs in the generator's own precision, also under autocast, because hundreds of small steps need more
        than half precision.
        """
        with torch.autocast(images.device.type, enabled=False):
            return self._search(images.to(self.starts)).to(images)

    def _search(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        nearest, least = torch.zeros_like(images), torch.full_like(images[:, 0, 0, 0], torch.inf)
        for start in self.starts:
            latents = start.expand(len(images), -1).clone()
            velocity = torch.zeros_like(latents)
            for _ in range(self.settings.steps):
                with torch.enable_grad():
                    latents.requires_grad_()
                    apart = (self.draw(latents, (height, width)) - images).square().flatten(1).mean(1)
                    (gradient,) = torch.autograd.grad(apart.sum(), latents)
                velocity = MOMENTUM * velocity - self.settings.step_size * gradient
                latents = latents.detach() + velocity
            with torch.no_grad():
                drawn = self.draw(latents, (height, width))
                apart = (drawn - images).square().flatten(1).mean(1)
                better = apart < least
                nearest[better], least[better] = drawn[better], apart[better]
        return nearest


def _build_generator(latent: int, widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Linear(latent, widths[0] * COARSEST**2),
        nn.Unflatten(1, (widths[0], COARSEST, COARSEST)),
        nn.ReLU(),
    ]
    for before, after in pairwise(widths):
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 3, 3, padding=1), nn.Sigmoid())


def _build_critic(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 3, padding=1), nn.LeakyReLU(0.2)]
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * COARSEST**2, 1))
