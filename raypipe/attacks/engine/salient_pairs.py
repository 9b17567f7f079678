"""The published rule of the saliency map attack (Papernot et al., 2016, arXiv:1511.07528), which selects a pair."""

import torch
from torch import Tensor

BLOCK = 2**22
"""Number of pairs scored at once, over all tiles. It bounds the memory where very many features are candidates."""


def find_best_pair(target: Tensor, others: Tensor, movable: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pair with the largest saliency of all pairs of features, in O(D log D) instead of O(D^2).

    Let alpha and beta be the sums over the pair of `target` and of `others`. The saliency is ``-alpha * beta`` where
    alpha is positive and beta is negative; other pairs have none. The saliency grows with the gradients of either
    feature. Therefore a feature that two others beat in both gradients can be replaced by one of them. Only the first
    two Pareto layers remain to try, a few dozen of thousands of features.

    Parameters
    ----------
    target
        (n, features) gradients of the target's logit, negated where features are lowered; at least one tile and two
        features.
    others
        (n, features) gradients of the sum of all other logits, negated in the same cases.
    movable
        (n, features) booleans, True for features that may be selected.

    Returns
    -------
    pairs : torch.Tensor
        (n, 2) positions of the features; any two features where no pair has a saliency.
    found : torch.Tensor
        (n,) booleans, True where a pair has a saliency.

    References
    ----------
    Papernot et al., 2016, arXiv:1511.07528, algorithm 3.
    """
    gains = target.masked_fill(~movable, -torch.inf)
    losses = (-others).masked_fill(~movable, -torch.inf)
    gains, order = gains.sort(dim=1, descending=True)
    losses = losses.gather(1, order)
    layers = _find_two_layers(losses)
    width = max(2, int(layers.sum(1).max()))
    # First come the positions of the candidates, in order, then those of any other features, without saliency.
    position = torch.arange(layers.shape[1], device=layers.device)
    kept = torch.where(layers, -position, -position - len(position)).topk(width, dim=1).indices
    gains = gains.gather(1, kept).masked_fill(~layers.gather(1, kept), -torch.inf)
    score, pairs = _search_all(gains, losses.gather(1, kept))
    return order.gather(1, kept.gather(1, pairs)), score > 0


def _find_two_layers(losses: Tensor) -> Tensor:
    """Return (n, features) booleans, True in the first two Pareto layers, for features in falling order of gains."""
    first = losses > _find_largest_before(losses)
    rest = losses.masked_fill(first, -torch.inf)
    return first | (rest > _find_largest_before(rest))


def _find_largest_before(values: Tensor) -> Tensor:
    largest = values.cummax(dim=1).values
    return torch.cat([torch.full_like(values[:, :1], -torch.inf), largest[:, :-1]], dim=1)


def _search_all(gains: Tensor, losses: Tensor) -> tuple[Tensor, Tensor]:
    """Return the best score (n,) and its pair (n, 2) among all pairs."""
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
