"""Wrong classes to aim at, which do not depend on a tile's position in a batch."""

import torch
from torch import Tensor

from raypipe.attacks.engine.draws import derive_seeds


def draw_targets(images: Tensor, labels: Tensor, classes: int, seed: int) -> Tensor:
    """Return a wrong class for each image, uniform over the wrong classes and fixed by the image and the seed.

    Parameters
    ----------
    images
        (n, channels, h, w), float32 in [0, 1]. The draws depend on their 8-bit pixels.
    labels
        (n,) true classes, which are never drawn.
    classes
        Number of classes.
    seed
        Seed of the draws. Another seed gives other draws.
    """
    offsets = [draw % (classes - 1) + 1 for draw in derive_seeds(images, str(seed))]
    return (labels + torch.tensor(offsets, dtype=labels.dtype, device=labels.device)) % classes


def find_runner_up(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the likeliest wrong class of each image, (n,).

    Parameters
    ----------
    logits
        (n, classes).
    labels
        (n,) true classes.
    """
    return logits.scatter(1, labels[:, None], -torch.inf).argmax(1)


def find_likeliest_wrong(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return the likeliest wrong classes of each image, likeliest first: (n, count), or fewer if there are fewer.

    Parameters
    ----------
    logits
        (n, classes).
    labels
        (n,) true classes.
    count
        Number of classes to return for each image.
    """
    wrong = logits.scatter(1, labels[:, None], -torch.inf)
    return wrong.topk(min(count, logits.shape[1] - 1), dim=1).indices
