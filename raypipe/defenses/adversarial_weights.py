"""Adversarial weight perturbation, AWP (Wu, Xia and Wang, 2020, arXiv:2004.05884): the worst loss near the weights.

The gradient is computed at weights that are moved to raise the loss. It is applied to the unmoved weights.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from raypipe.attacks.engine.tensors import TINY
from raypipe.training.objective import StepLoss, unwrap_ddp


def perturb_weights(
    model: nn.Module, loss: Callable[[Callable[[Tensor], Any]], StepLoss], gamma: float
) -> Callable[[Tensor], Any]:
    """Return the model with weights moved by one step up the loss; gradients still reach its own weights.

    Parameters
    ----------
    model
        The model in training mode. The step does not change its batch statistics.
    loss
        Function that takes a function from images to outputs, and returns the loss of the batch.
    gamma
        Length of the step of each matrix or kernel, as a share of its own length. Biases and scales do not move.

    References
    ----------
    Wu, Xia and Wang, 2020, arXiv:2004.05884, equation 10, with one step.
    """
    inner = unwrap_ddp(model)
    weights = {name: value for name, value in inner.named_parameters() if value.requires_grad and value.ndim > 1}
    statistics = {name: value.clone() for name, value in inner.named_buffers()}
    scored = loss(lambda images: functional_call(inner, statistics, (images,)))
    gradients = torch.autograd.grad(scored.loss, list(weights.values()))
    prefix = "" if inner is model else "module."
    moved = {
        prefix + name: weight + gamma * weight.detach().norm() / gradient.norm().clamp_min(TINY) * gradient
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True)
    }
    return lambda images: functional_call(model, moved, (images,))
