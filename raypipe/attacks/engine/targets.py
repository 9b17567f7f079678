"""Wrong classes to aim at. None depends on a tile's place in a batch."""

import torch
from torch import Tensor

from raypipe.attacks.engine.draws import seeds


def random_targets(images: Tensor, labels: Tensor, classes: int, seed: int) -> Tensor:
    """A wrong class for each image, uniform over classes, the same whenever image and seed are.

    Parameters
    ----------
    images
        (n, channels, h, w), float32 in [0, 1]; their 8-bit pixels decide.
    labels
        (n,) true classes, never drawn.
    classes
        How many there are.
    seed
        Another seed, another draw.
    """
    offsets = [draw % (classes - 1) + 1 for draw in seeds(images, str(seed))]
    return (labels + torch.tensor(offsets, dtype=labels.dtype, device=labels.device)) % classes


def runner_up(logits: Tensor, labels: Tensor) -> Tensor:
    """The likeliest wrong class of each image, (n,).

    Parameters
    ----------
    logits
        (n, classes).
    labels
        (n,) true classes.
    """
    return logits.scatter(1, labels[:, None], -torch.inf).argmax(1)


def likeliest_wrong(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """The likeliest wrong classes of each image, the likeliest first: (n, count), or as many as there are.

    Parameters
    ----------
    logits
        (n, classes).
    labels
        (n,) true classes.
    count
        How many.
    """
    wrong = logits.scatter(1, labels[:, None], -torch.inf)
    return wrong.topk(min(count, logits.shape[1] - 1), dim=1).indices
