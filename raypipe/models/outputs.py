"""Outputs of a network that are no logits: probabilities, of which attacks need the logarithm.

Attacks follow differences of logits. Those of probabilities vanish where the model is confident. Attacks on them need
far larger perturbations, and the model looks robust.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from raypipe.base.predictions import are_probabilities

Probabilities = Literal["softmax", "sigmoid"]


def recognize_probabilities(outputs: Tensor) -> Probabilities | None:
    """Return the function that probabilities come from, or None if the outputs can be logits.

    Rows from 0 on that sum to 1 or 100 come from a softmax. Rows in [0, 1] with other sums are logits unless the
    outputs come directly from a sigmoid, which their graph shows.

    Parameters
    ----------
    outputs
        (n, classes) outputs for images that differ, with their graph if they have one. Rows that are not finite are
        ignored.
    """
    rows = outputs.detach().float()
    if are_probabilities(rows.cpu().numpy()):
        return "softmax"
    rows = rows[rows.isfinite().all(1)]
    within = len(rows) > 0 and bool(rows.min() >= 0) and bool(rows.max() <= 1)
    return "sigmoid" if within and type(outputs.grad_fn).__name__.startswith("Sigmoid") else None


def describe_probabilities(kind: Probabilities) -> str:
    """Return the sentence on a model that gives probabilities, for a `raypipe.base.errors.Notice`."""
    return (
        f"the model gives probabilities (as a {kind} does), not logits: attacks get their logarithm; give the model "
        f"without its {kind}, which is more exact where the model is confident"
    )


class LogProbabilities(nn.Module):
    """A network that gives probabilities, as a network that gives logits of the same classes.

    The logarithm of a softmax differs from its logits by a constant of each image, which no attack sees. The predicted
    classes are those of the probabilities. The same holds of percent. The logarithm is taken in single precision: in
    half precision, small probabilities would become infinite.

    Parameters
    ----------
    network
        Network from images to probabilities (n, classes), of any precision.
    kind
        Function that the probabilities come from.
    """

    def __init__(self, network: nn.Module, kind: Probabilities) -> None:
        super().__init__()
        self.network = network
        self.kind = kind

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (n, classes) of images."""
        shares: Tensor = self.network(images).float()
        smallest = torch.finfo(torch.float32).tiny
        logits = shares.clamp_min(smallest).log()
        return logits - (1 - shares).clamp_min(smallest).log() if self.kind == "sigmoid" else logits

    def extra_repr(self) -> str:
        """Return the kind of the probabilities, which tells both kinds apart in a hash of the module."""
        return f"kind={self.kind}"
