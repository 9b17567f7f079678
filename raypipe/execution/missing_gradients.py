"""Tiles on which a white-box attack has no gradient to follow: its failure on them does not show robustness."""

import numpy as np
import torch
from numpy.typing import NDArray

from raypipe.attacks.base import NamedAttack
from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.losses import cross_entropy as log_odds
from raypipe.attacks.engine.prepare import PreparedModel
from raypipe.attacks.engine.quantize import to_unit
from raypipe.attacks.engine.victim import Victim, freeze
from raypipe.base.errors import notify
from raypipe.models.precision import full_precision


@full_precision()
def find_missing_gradients(
    model: PreparedModel, images: NDArray[np.uint8], labels: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return (n,) True for each tile at which the gradient of the log odds is zero or not finite.

    Parameters
    ----------
    model
        Model under attack. Its plain form is used.
    images
        (n, h, w, channels) uint8 clean tiles.
    labels
        (n,) true classes.
    """
    missing = np.zeros(len(images), dtype=np.bool_)
    goal = Goal(torch.from_numpy(labels).to(model.device))
    with freeze(model.plain):
        victim = Victim(model.plain, len(images))
        for rows in torch.split(victim.rows(), max(1, model.batch_size)):
            at = rows.cpu().numpy()
            stored = torch.from_numpy(images[at]).to(model.device).permute(0, 3, 1, 2).contiguous()
            points = to_unit(stored).requires_grad_()
            odds = log_odds(victim.logits(points, rows), goal, rows).sum()
            gradient = victim.gradient(odds, points, rows).flatten(1)
            missing[at] = ~(gradient.isfinite().all(1) & gradient.any(1)).cpu().numpy()
    return missing


def warn_of_missing_gradients(
    model: PreparedModel,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    attacked: NDArray[np.bool_],
    success: NDArray[np.bool_],
    settings: NamedAttack,
) -> float:
    """Warn with a `raypipe.base.errors.Notice` of tiles on which a white-box attack had no gradient.

    Parameters
    ----------
    model, images, labels
        The arguments of `find_missing_gradients`.
    attacked, success
        (n,) True for the tiles that the attack began with, and for those on which it succeeded.
    settings
        Settings of the attack.

    Returns
    -------
    float
        Share of the attacked tiles that have no gradient, in [0, 1]. It is 0 for an attack that needs no gradients.
    """
    if settings.knowledge != "white-box":
        return 0.0
    rows = np.flatnonzero(attacked & ~success)  # a success is its own proof
    missing, count = int(find_missing_gradients(model, images[rows], labels[rows]).sum()), int(attacked.sum())
    if missing:
        notify(describe_missing_gradients(missing, count))
    return missing / max(1, count)


def describe_missing_gradients(missing: int, count: int) -> str:
    """Return the sentence on tiles without a gradient, for `missing` of `count` attacked tiles."""
    return (
        f"{missing} of {count} tiles have no gradient: a white-box attack that fails on them does not show "
        "robustness; give a model that is differentiable (no torch.no_grad, detach, NumPy, rounding or saturated "
        "softmax inside), or take a black-box attack such as square"
    )
