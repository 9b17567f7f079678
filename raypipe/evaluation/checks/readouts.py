"""A classifier whose last layer is replaced, tile by tile, by a binary readout of the same features."""

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVC
from torch import Tensor, nn

from raypipe.attacks.engine.active import predict
from raypipe.attacks.engine.victim import Victim

HARD = 1e6
"""Penalty of the solver for a point on the wrong side of the margin. It leaves no such point if the points can be
separated."""
ITERATIONS = 100_000
"""Maximum number of iterations of the solver, which would not end where the points cannot be separated."""


class Features(NamedTuple):
    """A model's penultimate features.

    Parameters
    ----------
    model
        Model that maps images to logits.
    layer
        The last `torch.nn.Linear` that runs in a pass. Its input is the features.
    """

    model: nn.Module
    layer: nn.Linear

    def extract(self, images: Tensor) -> Tensor:
        """Return the features (n, d) of images (n, channels, h, w). Gradients flow through them."""
        inputs_of_layer: list[Tensor] = []
        hook = self.layer.register_forward_pre_hook(lambda _, inputs: inputs_of_layer.append(inputs[0]))
        try:
            self.model(images)
        finally:
            hook.remove()
        return inputs_of_layer[-1]


def find_penultimate(model: nn.Module, image: Tensor) -> Features | str:
    """Find a model's penultimate features with one forward pass.

    Parameters
    ----------
    model
        Model that maps images to logits.
    image
        (1, channels, h, w) image of the forward pass.

    Returns
    -------
    Features or str
        The features, or the reason why there are none: no linear layer runs, or the last one does not give the logits.
    """
    passes: list[tuple[nn.Linear, torch.Size]] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        passes.append((layer, inputs[0].shape))  # type: ignore[arg-type]  # hooked to linear layers only

    hooks = [layer.register_forward_pre_hook(note) for layer in model.modules() if isinstance(layer, nn.Linear)]
    try:
        with torch.no_grad():
            logits = model(image)
    finally:
        for hook in hooks:
            hook.remove()
    if not passes:
        return "no linear layer runs in the model's forward pass"
    layer, shape = passes[-1]
    if shape != (1, layer.in_features) or layer.out_features != logits.shape[-1]:
        return (
            f"the last linear layer takes {tuple(shape)} and gives {layer.out_features} values: "
            f"expected one feature vector per tile and {logits.shape[-1]} logits"
        )
    return Features(model, layer)


@dataclass(frozen=True, eq=False)
class Readout:
    """A linear function of features, ``(features - center) @ weight + bias``; positive for class 1."""

    center: Tensor
    weight: Tensor
    bias: Tensor


def separate(features: Tensor, positive: int, closeness: float) -> Readout | None:
    """Return the readout with the largest margin between features of two classes.

    Parameters
    ----------
    features
        (n, d) features.
    positive
        Number of features of class 1. They are the last ones.
    closeness
        Position of the boundary, from the middle of the margin, 0, to the nearest point of class 1, 1 (excluded).

    Returns
    -------
    Readout or None
        Readout whose scores are positive for class 1 and negative for class 0, and at most 1 in absolute value. None if
        no linear function separates the classes.
    """
    points = features.detach().double().cpu().numpy()
    if not np.isfinite(points).all():
        return None
    # Differences within a ball are small compared with the features. Centering and scaling keep the solver well
    # conditioned and the scores free of rounding errors.
    center = points.mean(0)
    scale = np.abs(points - center).max()
    if scale == 0:
        return None
    scaled, ones = (points - center) / scale, np.arange(len(points)) >= len(points) - positive
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the scores below show if it found a solution
        machine = SVC(kernel="linear", C=HARD, max_iter=ITERATIONS).fit(scaled, ones)
    scores = scaled @ machine.coef_[0] + machine.intercept_[0]
    if scores[ones].min() <= 0 or scores[~ones].max() >= 0:
        return None
    shift = closeness * scores[ones].min()
    largest = np.abs(scores - shift).max()
    parts = (center, machine.coef_[0] / (scale * largest), (machine.intercept_[0] - shift) / largest)
    return Readout(*(torch.as_tensor(part, dtype=features.dtype, device=features.device) for part in parts))


class Binarized(Victim):
    """A model with a readout for each tile in place of its last layer, so all tiles are attacked in one batch.

    Parameters
    ----------
    features
        Penultimate features of the model.
    readouts
        One readout per tile.
    batch_size
        See `raypipe.attacks.engine.victim.Victim`.
    """

    def __init__(self, features: Features, readouts: list[Readout], batch_size: int) -> None:
        super().__init__(features.model, len(readouts), batch_size)
        self.features = features
        self.center = torch.stack([readout.center for readout in readouts])
        self.weight = torch.stack([readout.weight for readout in readouts])
        self.bias = torch.stack([readout.bias for readout in readouts])

    def logits(self, images: Tensor, rows: Tensor) -> Tensor:
        """Return logits (n, 2): minus half the score, and half the score.

        See `raypipe.attacks.engine.victim.Victim.logits`.
        """
        offsets = self.features.extract(images) - self.center[rows]
        scores = (offsets * self.weight[rows]).sum(1) + self.bias[rows]
        self.forwards.index_add_(0, rows, torch.ones_like(rows))
        return torch.stack([-scores, scores], dim=1) / 2

    def positive(self, points: Tensor, rows: Tensor) -> Tensor:
        """Return (n,) booleans: True where the point is of class 1."""
        return predict(self, points, rows).argmax(1) == 1
