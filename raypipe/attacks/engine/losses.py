"""What attacks within a bound maximise, and the strongest points that they find.

Of a loss they use only its order and the direction of its gradient.
"""

import torch
from torch import Tensor

from raypipe.attacks.engine.goal import Goal
from raypipe.attacks.engine.tensors import TINY


def cross_entropy(logits: Tensor, goal: Goal, rows: Tensor) -> Tensor:
    """The cross-entropy of the true class, or minus that of the target; given as log odds, (n,).

    The log odds of all other classes against the one rise and fall with its cross-entropy, and their gradients have the
    same direction. But they do not round to zero where the model is sure of itself, as the cross-entropy's do.

    Parameters
    ----------
    logits
        (n, classes).
    goal
        What is to become of all tiles.
    rows
        (n,) positions of the tiles that the logits belong to.
    """
    own = goal.classes[rows, None]
    odds = logits.scatter(1, own, -torch.inf).logsumexp(1) - logits.gather(1, own)[:, 0]
    return -odds if goal.targeted else odds


def margin(logits: Tensor, goal: Goal, rows: Tensor) -> Tensor:
    """By how much another logit leads the true class's, or the target's leads the others, (n,).

    The objective f_6 of Carlini and Wagner, 2017, arXiv:1608.04644. Parameters as in `cross_entropy`.
    """
    return -goal.lead(logits, rows)


def difference_of_logits_ratio(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    """How far another class leads the true one, in units of the spread of the leading logits, (n,).

    Parameters
    ----------
    logits
        (n, classes): at least 3 of them, or 4 with targets.
    labels
        (n,) classes to be left.
    targets
        (n,) classes to be reached. None: any other.

    Raises
    ------
    ValueError
        If there are too few classes, and the ratio were constant or undefined.

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
    """Of each tile's points: one that reaches the goal before one that does not, then the one of the largest loss.

    Parameters
    ----------
    images
        (n, channels, h, w): what is left where no point is offered.

    Attributes
    ----------
    images
        The strongest points so far.
    losses
        (n,) theirs.
    fooled
        (n,) booleans: whether they reach the goal.
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images.clone()
        self.losses = images.new_full((len(images),), -torch.inf)
        self.fooled = torch.zeros_like(self.losses, dtype=torch.bool)

    def offer(self, rows: Tensor, points: Tensor, losses: Tensor, fooling: Tensor) -> None:
        """Take those points that are stronger than what is known.

        Parameters
        ----------
        rows
            (n,) positions of the tiles.
        points, losses, fooling
            (n, channels, h, w) points, (n,) their losses, and whether they reach the goal.
        """
        known = self.fooled[rows]
        stronger = (fooling & ~known) | ((fooling == known) & (losses > self.losses[rows]))
        taken = rows[stronger]
        self.images[taken] = points[stronger]
        self.losses[taken] = losses[stronger]
        self.fooled[taken] = fooling[stronger]
