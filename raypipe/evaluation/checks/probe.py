"""Probe of a model, tile by tile, from the view of a gradient attack: gradients, and repeatability of the logits.

A gradient that is zero, vanishing or not finite, or logits that change from pass to pass, stop an attack without making
the model robust.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.losses import cross_entropy as log_odds
from raypipe.attacks.engine.quantize import to_unit
from raypipe.attacks.engine.tensors import measure_lengths
from raypipe.attacks.engine.victim import Victim, freeze
from raypipe.evaluation.checks.evidence import Probe
from raypipe.models.precision import full_precision


@full_precision()
def probe(
    model: nn.Module,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    batch_size: int,
    device: torch.device,
) -> Probe:
    """Measure a model's gradients and the repeatability of its logits. The model is left unchanged.

    Parameters
    ----------
    model
        Model that maps images (n, 3, h, w) in [0, 1] to logits (n, classes); on `device`.
    images
        (n, h, w, 3) uint8 tiles, at least one.
    labels
        (n,) true classes.
    batch_size
        Number of tiles per pass, at least 2: in a smaller batch there are no other tiles to depend on.
    device
        Device that runs the model.

    Returns
    -------
    Probe
        The figures. They cost three forward and two backward passes per tile; one of the forward passes has the tile
        alone.

    Raises
    ------
    ValueError
        If shapes, types or the batch size do not fit.

    References
    ----------
    A. Athalye, N. Carlini and D. Wagner, 2018, arXiv:1802.00420, section 2.1: shattered, stochastic and vanishing
    gradients.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images) or labels.shape != images.shape[:1]:
        raise ValueError(
            f"images {images.dtype} {images.shape}, labels {labels.shape}: expected uint8 (n, h, w, 3) and (n,), n >= 1"
        )
    if batch_size < 2:
        raise ValueError(f"batch_size = {batch_size}: expected at least 2, to compare a batch with single tiles")
    clean = to_unit(torch.from_numpy(images).to(device).permute(0, 3, 1, 2).contiguous())
    goal = Goal(torch.from_numpy(labels).to(device))
    with freeze(model):
        victim = Victim(model, len(images))
        batches = [_probe_batch(victim, clean[rows], goal, rows) for rows in torch.split(victim.rows(), batch_size)]
    columns = (*(torch.cat(column) for column in zip(*batches, strict=True)), victim.forwards, victim.backwards)
    return Probe(*(column.cpu().numpy() for column in columns))


def _probe_batch(victim: Victim, clean: Tensor, goal: Goal, rows: Tensor) -> tuple[Tensor, ...]:
    """Return the arrays of `Probe` for a batch, in their order, without the passes."""
    points = clean.clone().requires_grad_()
    logits = victim.logits(points, rows)
    odds = victim.gradient(log_odds(logits, goal, rows).sum(), points, rows, retain_graph=True)
    plain = victim.gradient(F.cross_entropy(logits, goal.classes[rows], reduction="sum"), points, rows)
    logits = logits.detach()
    with torch.no_grad():
        again = victim.logits(clean, rows)
        alone = torch.cat([victim.logits(clean[[at]], rows[[at]]) for at in range(len(rows))])
    finite = [values.flatten(1).isfinite().all(1) for values in (logits, odds, plain)]
    return (
        measure_lengths(odds.double()),
        measure_lengths(plain.double()),
        (odds == 0).flatten(1).double().mean(1),
        torch.stack(finite).all(0),
        (logits.amax(1) - logits.amin(1)).double(),
        (again - logits).abs().amax(1).double(),
        (alone - logits).abs().amax(1).double(),
    )
