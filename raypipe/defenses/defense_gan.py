"""Defense-GAN (Samangouei et al., 2018, arXiv:1805.06605): show the network the nearest tile that a generator can draw.

The generator is trained on the clean training tiles as a Wasserstein GAN with gradient penalty (Gulrajani et al., 2017,
arXiv:1704.00028). The network itself does not change. Adaptive attacks treat the projection as the identity in the
backward pass, which broke the defense (Athalye, Carlini and Wagner, 2018, arXiv:1802.00420, section 5.4.2).

Difference from the paper: generator and critic take one step each per batch. The authors take five steps of the critic.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from raypipe.attacks.engine.victim import freeze
from raypipe.defenses.base import Defense, TrainingSteps
from raypipe.models.classifier import Classifier
from raypipe.models.transforms.gan_projection import GanProjection, Projection
from raypipe.training.objective import StepLoss
from raypipe.training.recipe import Recipe

PENALTY = 10.0
"""Weight of the gradient penalty; the value of its authors."""


class DefenseGan(Defense):
    """Settings of Defense-GAN. Its generator is trained by one worker.

    Parameters
    ----------
    epochs, learning_rate
        Settings of the generator's training.
    latent, channels, finest
        Size of the generator: see `raypipe.models.transforms.gan_projection.GanProjection`.
    restarts, steps, step_size
        Settings of the projection. Each pass of the model costs ``restarts * steps`` passes of the generator.
    """

    name: Literal["defense_gan"] = "defense_gan"
    epochs: int = Field(100, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    latent: int = Field(64, ge=1)
    channels: int = Field(32, ge=1)
    finest: Literal[16, 32, 64, 128] = 32
    restarts: int = Field(2, ge=1)
    steps: int = Field(50, ge=1)
    step_size: float = Field(10.0, gt=0)

    def adapt_recipe(self, base: Recipe) -> Recipe:
        """Return the recipe of the generator's training, without the settings for classifiers."""
        plain = {"warm_up": 0.0, "clip_norm": None, "ema": 0.0, "augment": (), "weight_decay": 0.0}
        return super().adapt_recipe(base).model_copy(update=plain)

    def build_input_transform(self) -> GanProjection:
        """Return the projection."""
        return GanProjection(**self.model_dump(include=set(GanProjection.model_fields) - {"name"}))

    def prepare_training(self, clean: nn.Module, recipe: Recipe, start: nn.Module) -> TrainingSteps:  # noqa: ARG002  The base class has them.
        """Return steps of the generator and the critic, each with the other frozen; the network does not change."""

        def minimize(model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> StepLoss:  # noqa: ARG001
            if not isinstance(model, Classifier) or not isinstance(model.input_transform, Projection):
                raise TypeError("defense_gan: its generator is trained by one worker; set resources.harden_workers: 1")
            with freeze(model), torch.no_grad():
                logits = model.classify(images)
            return StepLoss(compute_gan_loss(model.input_transform, images), logits, forwards=1, backwards=0)

        return TrainingSteps(minimize, inputs=None)


def compute_gan_loss(gan: Projection, images: Tensor) -> Tensor:
    """Return the loss of one step of generator and critic.

    Parameters
    ----------
    gan
        Projection with its generator and critic.
    images
        (n, 3, h, w) real images in [0, 1].
    """
    size = (images.shape[2], images.shape[3])
    drawn = gan.draw(torch.randn(len(images), gan.settings.latent, device=images.device), size)
    fake = drawn.detach()
    share = torch.rand(len(images), 1, 1, 1, device=images.device)
    between = (share * images + (1 - share) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(gan.judge(between).sum(), between, create_graph=True)
    penalty = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    critics: Tensor = gan.judge(fake).mean() - gan.judge(images).mean() + PENALTY * penalty
    gan.critic.requires_grad_(False)  # The critic must not learn from the generator's loss.
    opinion = gan.judge(drawn).mean()
    gan.critic.requires_grad_(True)
    return critics - opinion
