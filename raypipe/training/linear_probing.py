"""Linear probing: in the first part of a fit only the head learns, and the body keeps its pretrained features.

A new head has random weights, and their gradients would spoil the body. Probing first avoids this (Kumar et al., 2022,
arXiv:2202.10054). With adversarial tiles it keeps the robustness of an adversarially pretrained body (robust linear
initialization, Hua et al., 2024, arXiv:2312.05716).
"""

from collections.abc import Collection

from torch import nn

from raypipe.training.batch_statistics import list_batch_norms


class LinearProbing:
    """The first steps of a fit, in which only the head learns.

    The body's parameters get no update, and its batch normalization uses and keeps its statistics, as in evaluation
    mode. Gradients are still computed, because with several workers each of them must exchange all gradients.

    Parameters
    ----------
    model
        The model itself, not wrapped for DDP.
    head
        Names of the parameters that learn.
    steps
        Number of optimizer steps that probe.

    Raises
    ------
    ValueError
        If the model has none of the head's parameters.
    """

    def __init__(self, model: nn.Module, head: Collection[str], steps: int) -> None:
        parameters = dict(model.named_parameters())
        if steps and not parameters.keys() & set(head):
            raise ValueError(
                "linear probing: the network has no parameters whose shape depends on the number of classes"
            )
        self.body = [parameter for name, parameter in parameters.items() if name not in head]
        self.norms = list_batch_norms(model)
        self.steps = steps

    def begin_step(self, step: int) -> None:
        """Set the modes of the body's batch normalization for a step, counted from 0."""
        if self.steps:
            for layer in self.norms:
                layer.train(step >= self.steps)

    def drop_gradients(self, step: int) -> None:
        """Remove the body's gradients after the backward pass of a step that probes, so that the optimizer skips it."""
        if step < self.steps:
            for parameter in self.body:
                parameter.grad = None
