"""Losses that attacks within a bound maximize, and the strongest points that they find.

The attacks use only the order of the losses and the direction of their gradients.
"""

import torch
from torch import Tensor

from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.tensors import TINY


def cross_entropy(logits: Tensor, goal: Goal, rows: Tensor) -> Tensor:
    """Return the cross-entropy of the true class, or minus that of the target, as log odds, (n,).

    The log odds of all other classes against a class rise and fall with its cross-entropy. Their gradients have the
    same direction. Where the model is confident, the gradients of the cross-entropy round to zero, but those of the log
    odds do not.

    Parameters
    ----------
    logits
        (n, classes).
    goal
        Goal of all tiles.
    rows
        (n,) positions of the tiles that the logits belong to.
    """
    own = goal.classes[rows, None]
    odds = logits.scatter(1, own, -torch.inf).logsumexp(1) - logits.gather(1, own)[:, 0]
    return -odds if goal.targeted else odds


def margin(logits: Tensor, goal: Goal, rows: Tensor) -> Tensor:
    """Return the lead of the best wrong logit over the true one, or of the target's logit over all others, (n,).

    This is the objective f_6 of Carlini and Wagner, 2017, arXiv:1608.04644. The parameters are those of
    `cross_entropy`.
    """
    return -goal.lead(logits, rows)


def difference_of_logits_ratio(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """Return the lead of another class over the true one, in units of the spread of the leading logits, (n,).

    Parameters
    ----------
    logits
        (n, classes): at least 3 classes, or 4 with targets.
    labels
        (n,) classes to leave.
    targets
        (n,) classes to reach. None means any other class.

    Raises
    ------
    ValueError
        If there are too few classes, so that the ratio would be constant or undefined.

    References
    ----------
    Croce and Hein, 2020, arXiv:2003.01690, equations 6 and 7.
    """
    classes, needed = logits.shape[1], 3 if targets is None else 4
    if classes < needed:
        kind = "dlr" if targets is None else "targeted dlr"
        raise ValueError(f"loss = dlr: {kind} needs {needed} classes, the model has {classes}; say `cross_entropy`")
    ordered = logits.sort(dim=1, descending=True).values
    own = logits.gather(1, labels[:, None])[:, 0]
    if targets is None:
        other = torch.where(logits.argmax(1) == labels, ordered[:, 1], ordered[:, 0])
        return (other - own) / (ordered[:, 0] - ordered[:, 2] + TINY)
    aimed = logits.gather(1, targets[:, None])[:, 0]
    return (aimed - own) / (ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2 + TINY)


class Strongest:
    """The strongest point of each tile: the point with the largest loss, among those that reach the goal if any does.

    Parameters
    ----------
    images
        (n, channels, h, w) images, which stay where no point is offered.

    Attributes
    ----------
    images
        (n, channels, h, w) strongest points so far.
    losses
        (n,) losses of these points.
    fooled
        (n,) booleans, True where these points reach the goal.
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images.clone()
        self.losses = images.new_full((len(images),), -torch.inf)
        self.fooled = torch.zeros_like(self.losses, dtype=torch.bool)

    def offer(self, rows: Tensor, points: Tensor, losses: Tensor, fooling: Tensor) -> None:
        """Store the points that are stronger than the known ones.

        Parameters
        ----------
        rows
            (n,) positions of the tiles.
        points, losses, fooling
            (n, channels, h, w) points, (n,) their losses, and (n,) booleans, True where they reach the goal.
        """
        known = self.fooled[rows]
        stronger = (fooling & ~known) | ((fooling == known) & (losses > self.losses[rows]))
        taken = rows[stronger]
        self.images[taken] = points[stronger]
        self.losses[taken] = losses[stronger]
        self.fooled[taken] = fooling[stronger]
