"""The optimizer, the schedule of its learning rate, and the moving average of the weights."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from raypipe.training.recipe import Recipe

FIRST_RATE = 0.01
"""Share of the learning rate at the beginning of a warm-up."""


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimizer.

    It is fused: it reads the weights once per step, instead of once for each operation of the step.
    """
    rate, decay = recipe.learning_rate, recipe.weight_decay
    match recipe.optimizer:
        case "sgd":
            return torch.optim.SGD(model.parameters(), rate, momentum=recipe.momentum, weight_decay=decay, fused=True)
        case "adamw":
            return torch.optim.AdamW(model.parameters(), rate, weight_decay=decay, fused=True)
        case "adam":
            return torch.optim.Adam(model.parameters(), rate, weight_decay=decay, fused=True)


def make_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the recipe's schedule of the learning rate over the given number of optimizer steps."""
    rising = min(round(recipe.warm_up * steps), steps - 1)
    falls = (
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - rising)
        if recipe.schedule == "cosine"
        else torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    )
    if rising == 0:
        return falls
    rises = torch.optim.lr_scheduler.LinearLR(optimizer, FIRST_RATE, total_iters=rising)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [rises, falls], [rising])


class WeightAverage:
    """An exponential moving average of a model's weights (Polyak and Juditsky, 1992, SIAM J. Control Optim. 30(4)).

    Parameters
    ----------
    model
        Model without a DDP wrapper. The average starts at its weights.
    decay
        Share of the average that a step keeps. Early steps use (1 + step) / (10 + step) if that is less. The average
        then covers about the last tenth of the steps, and not the start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.source = model
        self.decay = decay
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Add the model's current weights to the average."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        averages, weights = ([weight.detach() for weight in each.parameters()] for each in (self.model, self.source))
        torch._foreach_lerp_(averages, weights, 1 - decay)

    @torch.no_grad()
    def copy_buffers(self) -> None:
        """Copy the model's buffers, such as batch statistics."""
        for average, buffer in zip(self.model.buffers(), self.source.buffers(), strict=True):
            average.copy_(buffer)

    def state(self) -> dict[str, Any]:
        """Return the state that `restore` needs to continue."""
        return {"model": self.model.state_dict(), "steps": self.steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `state` returned."""
        self.model.load_state_dict(state["model"])
        self.steps = state["steps"]
