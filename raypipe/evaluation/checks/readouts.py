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
"""The penalty on what is on the wrong side of the margin: nothing is, where the points can be separated at all."""
ITERATIONS = 100_000
"""Of the solver at most: where the points cannot be separated, it would not come to an end."""


class Features(NamedTuple):
    """A model's penultimate features.

    Parameters
    ----------
    model
        Images in, logits out.
    layer
        The last `torch.nn.Linear` that runs in a pass; its input are the features.
    """

    model: nn.Module
    layer: nn.Linear

    def of(self, images: Tensor) -> Tensor:
        """Features (n, d) of images (n, channels, h, w); gradients flow through them."""
        seen: list[Tensor] = []
        hook = self.layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            self.model(images)
        finally:
            hook.remove()
        return seen[-1]


def penultimate(model: nn.Module, image: Tensor) -> Features | str:
    """Find a model's features with one forward pass.

    Parameters
    ----------
    model
        Images in, logits out.
    image
        (1, channels, h, w), to be passed.

    Returns
    -------
    Features or str
        Why there are none: no linear layer runs, or the last one does not give the logits.
    """
    ran: list[tuple[nn.Linear, torch.Size]] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        ran.append((layer, inputs[0].shape))  # type: ignore[arg-type]  # hooked to linear layers only

    hooks = [layer.register_forward_pre_hook(note) for layer in model.modules() if isinstance(layer, nn.Linear)]
    try:
        with torch.no_grad():
            logits = model(image)
    finally:
        for hook in hooks:
            hook.remove()
    if not ran:
        return "no linear layer runs in the model's forward pass"
    layer, shape = ran[-1]
    if shape != (1, layer.in_features) or layer.out_features != logits.shape[-1]:
        return (
            f"the last linear layer takes {tuple(shape)} and gives {layer.out_features} values: "
            f"expected one vector of features a tile and its {logits.shape[-1]} logits"
        )
    return Features(model, layer)


@dataclass(frozen=True, eq=False)
class Readout:
    """A linear function of features, ``(features - centre) @ weight + bias``, positive for class 1."""

    centre: Tensor
    weight: Tensor
    bias: Tensor


def separate(features: Tensor, positive: int, closeness: float) -> Readout | None:
    """The readout of the largest margin between features.

    Parameters
    ----------
    features
        (n, d).
    positive
        How many of them, the last ones, are of class 1.
    closeness
        How far the boundary is moved from the middle of the margin, 0, to the nearest point of class 1, 1 (excluded).

    Returns
    -------
    Readout or None
        Scores of class 1 are larger, those of class 0 smaller than 0, the largest being 1 in size. None: no linear
        function separates them.
    """
    points = features.detach().double().cpu().numpy()
    if not np.isfinite(points).all():
        return None
    # Differences within a ball are small beside the features: centred and scaled, they leave the solver no bad
    # conditioning, and the scores no rounding.
    centre = points.mean(0)
    scale = np.abs(points - centre).max()
    if scale == 0:
        return None
    scaled, ones = (points - centre) / scale, np.arange(len(points)) >= len(points) - positive
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # whether it has found a solution is seen below
        machine = SVC(kernel="linear", C=HARD, max_iter=ITERATIONS).fit(scaled, ones)
    scores = scaled @ machine.coef_[0] + machine.intercept_[0]
    if scores[ones].min() <= 0 or scores[~ones].max() >= 0:
        return None
    shift = closeness * scores[ones].min()
    largest = np.abs(scores - shift).max()
    parts = (centre, machine.coef_[0] / (scale * largest), (machine.intercept_[0] - shift) / largest)
    return Readout(*(torch.as_tensor(part, dtype=features.dtype, device=features.device) for part in parts))


class Binarized(Victim):
    """A model with a readout of each tile's own in place of its last layer: all tiles are attacked in one batch.

    Parameters
    ----------
    features
        The model's.
    readouts
        One for each tile.
    batch_size
        As in `raypipe.attacks.engine.victim.Victim`.
    """

    def __init__(self, features: Features, readouts: list[Readout], batch_size: int) -> None:
        super().__init__(features.model, len(readouts), batch_size)
        self.features = features
        self.centre = torch.stack([readout.centre for readout in readouts])
        self.weight = torch.stack([readout.weight for readout in readouts])
        self.bias = torch.stack([readout.bias for readout in readouts])

    def logits(self, images: Tensor, rows: Tensor) -> Tensor:
        """(n, 2), as `raypipe.attacks.engine.victim.Victim.logits`: minus half the score, and half the score."""
        offsets = self.features.of(images) - self.centre[rows]
        scores = (offsets * self.weight[rows]).sum(1) + self.bias[rows]
        self.forwards.index_add_(0, rows, torch.ones_like(rows))
        return torch.stack([-scores, scores], dim=1) / 2

    def positive(self, points: Tensor, rows: Tensor) -> Tensor:
        """(n,) booleans: which points are of class 1."""
        return predict(self, points, rows).argmax(1) == 1
