"""Free adversarial training (Shafahi et al., 2019, arXiv:1904.12843): one backward pass moves weights and pixels.

Each batch is used several times in a row. The gradient that updates the weights also gives the next perturbation.

Differences from the paper: a batch starts at a random point of the ball instead of the last batch's perturbation, so
that a fit can resume between epochs. `epochs` counts passes over the tiles, each with all its replays.
"""

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from raypipe.attacks.engine.norms import normalize, project
from raypipe.attacks.engine.victim import freeze
from raypipe.defenses.base import TrainingSteps
from raypipe.defenses.inner_attack import Perturbed, draw_start, perturb_by_pgd
from raypipe.defenses.online import OnlineTraining
from raypipe.training.objective import InputRule, StepInputs, StepLoss
from raypipe.training.recipe import Recipe


class FreeTraining(OnlineTraining):
    """Settings of free adversarial training, beside those of `raypipe.defenses.online.OnlineTraining`.

    Parameters
    ----------
    epochs
        Number of passes over the tiles, each with `replays` steps per batch. By default two of them take as many steps
        as eight plain epochs.
    replays
        Number of steps on each batch; the authors take 4.
    step_size
        Length of a step as a share of `eps`.
    awp, frozen_statistics
        Always 0: a replay has one pass, which neither a weight perturbation nor a second loss shares.
    """

    name: Literal["free_training"] = "free_training"
    epochs: int = Field(2, ge=1)
    replays: int = Field(4, ge=1)
    step_size: float = Field(1.0, gt=0)
    awp: Literal[0] = 0
    frozen_statistics: Literal[0] = Field(0, exclude_if=lambda weight: weight == 0)

    def perturb(self, victim: nn.Module, images: Tensor, labels: Tensor) -> Perturbed:  # noqa: ARG002
        """Return the random points at which a batch starts."""
        return Perturbed(draw_start(images, self.ball), 0)

    def make_input_rule(self) -> InputRule:
        """Return tiles perturbed by half of a batch's steps, which is the average over its replays."""
        steps = self.replays // 2

        def make(model: nn.Module, images: Tensor, labels: Tensor) -> StepInputs:
            with freeze(model) as victim:
                return StepInputs(*perturb_by_pgd(victim, images, labels, self.ball, steps, self.step_size))

        return InputRule(f"tiles perturbed by {self.name}", make)

    def prepare_training(self, clean: nn.Module, recipe: Recipe, start: nn.Module) -> TrainingSteps:
        """Return steps on the points that the gradient of the previous replay gives."""
        batch = points = torch.empty(0)

        def minimize(model: nn.Module, images: Tensor, labels: Tensor, progress: float) -> StepLoss:
            nonlocal batch, points
            now = self.at(progress)
            if now is None:
                return self.compute_loss(model, images, images, labels)
            if images is not batch:
                batch, points = images, now.perturb(model, images, labels).images

            def move(gradients: Tensor) -> None:
                nonlocal points
                # Where half precision overflows, the optimizer skips its step, and so does the perturbation.
                finite = gradients.nan_to_num(0, 0, 0)
                stepped = points.detach() + self.step_size * now.eps * normalize(finite, self.norm)
                points = project(stepped, images, now.eps, self.norm)

            points = points.detach().requires_grad_()
            points.register_hook(move)  # type: ignore[no-untyped-call]
            return self.compute_loss(model, images, points, labels)

        return replace(super().prepare_training(clean, recipe, start), objective=minimize, repeats=self.replays)
