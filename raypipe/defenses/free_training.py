"""Free adversarial training (Shafahi et al., 2019, arXiv:1904.12843): one backward pass moves weights and pixels.

Every batch is used several times in a row; the gradient that updates the weights also gives the next perturbation.
Departures: a batch starts at a random point of the ball, not at the last batch's perturbation, so that a fit can be
resumed between epochs; `epochs` counts passes over the tiles with all their replays.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from raypipe.attacks.norms import normalise, project
from raypipe.attacks.victim import frozen
from raypipe.defenses.online import Forward, OnlineTraining, Perturbed, ascend, misclassification, random_start
from raypipe.models.backbone import classification_loss, main_logits
from raypipe.training.objective import Objective, Scored, Shown, Shows
from raypipe.training.recipe import Recipe


class FreeTraining(OnlineTraining):
    """Settings of free adversarial training, beside those of `raypipe.defenses.online.OnlineTraining`.

    Parameters
    ----------
    epochs
        Passes over the tiles, each of `replays` steps a batch: two of them do the work of eight plain ones.
    replays
        How often each batch is used: the authors' 4.
    step_size
        Length of a step as a share of `eps`.
    awp
        Always 0: no pass is spent on the weights either.
    """

    name: Literal["free_training"] = "free_training"
    epochs: int = Field(2, ge=1)
    replays: int = Field(4, ge=1)
    step_size: float = Field(1.0, gt=0)
    awp: Literal[0] = 0

    @property
    def training_work(self) -> float:
        """As many steps as replays."""
        return self.replays

    @property
    def steps_a_batch(self) -> int:
        """As the settings say."""
        return self.replays

    def perturb(self, victim: nn.Module, images: Tensor, labels: Tensor) -> Perturbed:  # noqa: ARG002
        """Where a batch starts."""
        return Perturbed(random_start(images, self), 0)

    def loss(self, forward: Forward, images: Tensor, perturbed: Tensor, labels: Tensor) -> Scored:  # noqa: ARG002
        """The cross-entropy of the perturbed batch."""
        output = forward(perturbed)
        return Scored(classification_loss(output, labels), main_logits(output))

    def shows(self) -> Shows:
        """Return tiles perturbed by half of a batch's steps, as its replays see them in the mean."""
        steps = self.replays // 2

        def make(model: nn.Module, images: Tensor, labels: Tensor) -> Shown:
            start, loss = random_start(images, self), misclassification(labels)
            with frozen(model) as victim:
                return Shown(ascend(victim, images, start, loss, self, steps, self.step_size), steps)

        return Shows(f"tiles perturbed by {self.name}", make)

    def objective(self, clean: nn.Module, recipe: Recipe) -> Objective:  # noqa: ARG002  the base's
        """The loss at the points where the last replay's gradient has led."""
        batch = points = torch.empty(0)

        def minimise(model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> Scored:  # noqa: ARG001
            nonlocal batch, points
            if images is not batch:
                batch, points = images, self.perturb(model, images, labels).images

            def move(gradients: Tensor) -> None:
                nonlocal points
                # Where half precision overflows, the optimizer skips its step, and so does the perturbation.
                finite = gradients.nan_to_num(0, 0, 0)
                stepped = points.detach() + self.step_size * self.eps * normalise(finite, self.norm)
                points = project(stepped, images, self.eps, self.norm)

            points = points.detach().requires_grad_()
            points.register_hook(move)  # type: ignore[no-untyped-call]
            return self.loss(model, images, points, labels)

        return minimise
