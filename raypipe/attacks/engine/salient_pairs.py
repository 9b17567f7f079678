"""The published rule of the saliency map attack (Papernot et al., 2016, arXiv:1511.07528): which pair to take."""

import torch
from torch import Tensor

BLOCK = 2**22
"""Pairs scored at once, over all tiles: bounds the memory where very many features are candidates."""


def best_pair(target: Tensor, others: Tensor, movable: Tensor) -> tuple[Tensor, Tensor]:
    """The pair of features with the largest saliency, of all pairs, in O(D log D) rather than O(D^2).

    With alpha and beta the sums over the pair of `target` and `others`, the saliency is ``-alpha * beta`` where alpha
    is positive and beta negative; other pairs have none. It grows with either feature's gradients, so a feature that
    two others beat in both gradients can be exchanged for one of them: what is left to try are the first two Pareto
    layers, a few dozen features of thousands.

    Parameters
    ----------
    target
        (n, features), at least one tile and two features: gradients of the target's logit, negated where features are
        lowered.
    others
        (n, features) gradients of the sum of all other logits; negated likewise.
    movable
        (n, features) booleans: which features may be taken.

    Returns
    -------
    pairs : torch.Tensor
        (n, 2) positions; any two features where there is no pair.
    found : torch.Tensor
        (n,) booleans: whether any pair has a saliency.

    References
    ----------
    Papernot et al., 2016, arXiv:1511.07528, algorithm 3.
    """
    gains = target.masked_fill(~movable, -torch.inf)
    losses = (-others).masked_fill(~movable, -torch.inf)
    gains, order = gains.sort(dim=1, descending=True)
    losses = losses.gather(1, order)
    layers = _two_layers(losses)
    width = max(2, int(layers.sum(1).max()))
    # The positions of the candidates, in order, then those of any other features, which have no saliency.
    position = torch.arange(layers.shape[1], device=layers.device)
    kept = torch.where(layers, -position, -position - len(position)).topk(width, dim=1).indices
    gains = gains.gather(1, kept).masked_fill(~layers.gather(1, kept), -torch.inf)
    score, pairs = _best_of_all(gains, losses.gather(1, kept))
    return order.gather(1, kept.gather(1, pairs)), score > 0


def _two_layers(losses: Tensor) -> Tensor:
    """Where the first two Pareto layers are, (n, features), of features in falling order of their gains."""
    first = losses > _largest_before(losses)
    rest = losses.masked_fill(first, -torch.inf)
    return first | (rest > _largest_before(rest))


def _largest_before(values: Tensor) -> Tensor:
    largest = values.cummax(dim=1).values
    return torch.cat([torch.full_like(values[:, :1], -torch.inf), largest[:, :-1]], dim=1)


def _best_of_all(gains: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
    """The best score and its pair, (n,) and (n, 2), by trying all pairs."""
    width = gains.shape[1]
    best = torch.full_like(gains[:, 0], -torch.inf)
    pairs = torch.arange(2, device=gains.device).repeat(len(gains), 1)
    rows = max(1, BLOCK // max(1, gains.numel()))
    for begin in range(0, width, rows):
        block = slice(begin, begin + rows)
        alpha, beta = gains[:, block, None] + gains[:, None], losses[:, block, None] + losses[:, None]
        score = torch.where((alpha > 0) & (beta > 0), alpha * beta, -torch.inf)
        score.diagonal(offset=begin, dim1=1, dim2=2).fill_(-torch.inf)
        highest, place = score.flatten(1).max(dim=1)
        better = highest > best
        best = torch.where(better, highest, best)
        found = torch.stack([begin + place // width, place % width], dim=1)
        pairs = torch.where(better[:, None], found, pairs)
    return best, pairs
