"""Which tiles of a data set are siblings: candidates by likeness, proof by registration, a threshold by chance."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors

from raypipe.data.audit.grouping import join_pairs
from raypipe.data.audit.registration import Pairs, Similarity, register
from raypipe.data.audit.sketch import Sketch

NEIGHBOURS = 10
"""Most alike tiles that each tile is registered with at first."""

SEARCHED = 60
"""Most alike tiles among which a group's candidates outside of it are found; LC25000's largest group has 53 tiles."""

FURTHER = 40
"""Pairs with tiles outside of it that each group is given in a further round."""

ROUNDS = 4
MARGIN = 2.0
"""How many times the best similarity of wrongly paired keypoints makes a sibling pair."""

THRESHOLDS = (0.3, 0.6)
"""The least and the greatest threshold, whatever chance gave: few tiles say little of it."""

Advance = Callable[[int], object]


class Siblings(NamedTuple):
    """What was found.

    Attributes
    ----------
    group
        Int, shape (n,): the position of the first tile of each tile's group.
    pairs
        Int, shape (m, 2), of sibling pairs, most similar first.
    similarity
        Float32, shape (m,), -1..1.
    threshold
        What a pair's similarity had to reach.
    compared
        Pairs that were registered.
    """

    group: npt.NDArray[np.intp]
    pairs: Pairs
    similarity: npt.NDArray[np.float32]
    threshold: float
    compared: int


def find_siblings(sketch: Sketch, workers: int, advance: Advance) -> Siblings:
    """Find the groups of tiles that were augmented from one source tile.

    Each tile is registered with the tiles of the most similar histograms, and then, until nothing is joined any more,
    each group with the tiles most like its own outside of it.

    Parameters
    ----------
    sketch
        The tiles, at least two.
    workers
        Threads.
    advance
        Called with the number of pairs that have been registered since the last call.
    """
    count = len(sketch.histograms)
    near, distance = _neighbours(sketch.histograms)
    pairs = _ordered(np.repeat(np.arange(count), min(NEIGHBOURS, near.shape[1])), near[:, :NEIGHBOURS].ravel())
    found = _registered(sketch, pairs, workers, advance)
    threshold = float(np.clip(MARGIN * found.chance.max(), *THRESHOLDS))
    group = _joined(pairs, found, threshold, count)
    for _ in range(ROUNDS - 1):
        more = _unseen(_across_groups(group, near, distance), pairs, count)
        result = _registered(sketch, more, workers, advance)
        pairs = np.concatenate([pairs, more])
        found = Similarity(*(np.concatenate(parts) for parts in zip(found, result, strict=True)))
        before, group = group, _joined(pairs, found, threshold, count)
        if np.array_equal(before, group):
            break
    chosen = _surest(found, threshold)
    return Siblings(group, pairs[chosen], found.registered[chosen], threshold, len(pairs))


def _neighbours(histograms: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Positions of each tile's nearest others, nearest first, and their distances; in blocks, of bounded memory."""
    search = NearestNeighbors(n_neighbors=min(SEARCHED, len(histograms) - 1), algorithm="brute").fit(histograms)
    distance, near = search.kneighbors()
    return near, distance.astype(np.float32)


def _across_groups(group: npt.NDArray[np.intp], near: npt.NDArray[np.intp], distance: npt.NDArray[np.float32]) -> Pairs:
    """The closest pairs of each group with tiles outside of it."""
    tile, place = np.nonzero(group[near] != group[:, None])
    order = np.lexsort((distance[tile, place], group[tile]))
    tile, place = tile[order], place[order]
    _, start, size = np.unique(group[tile], return_index=True, return_counts=True)
    rank = np.arange(len(tile)) - np.repeat(start, size)
    chosen = rank < FURTHER
    return _ordered(tile[chosen], near[tile[chosen], place[chosen]])


def _ordered(left: npt.NDArray[np.intp], right: npt.NDArray[np.intp]) -> Pairs:
    """Every pair once, its lower position first."""
    pairs: Pairs = np.unique(np.sort(np.stack([left, right], axis=1), axis=1), axis=0)
    return pairs


def _unseen(pairs: Pairs, seen: Pairs, count: int) -> Pairs:
    weights = np.array([count, 1])
    fresh: Pairs = pairs[~np.isin(pairs @ weights, seen @ weights)]
    return fresh


def _registered(sketch: Sketch, pairs: Pairs, workers: int, advance: Advance) -> Similarity:
    blocks = np.array_split(pairs, max(1, len(pairs) // 4096))
    parts = []
    for block in blocks:
        parts.append(register(sketch, block, workers))
        advance(len(block))
    return Similarity(*(np.concatenate(field) for field in zip(*parts, strict=True)))


def _joined(pairs: Pairs, found: Similarity, threshold: float, count: int) -> npt.NDArray[np.intp]:
    return join_pairs(pairs[_surest(found, threshold)], count)


def _surest(found: Similarity, threshold: float) -> npt.NDArray[np.intp]:
    """Positions of the pairs that reach the threshold, most similar first."""
    order = np.argsort(-found.registered, kind="stable")
    chosen: npt.NDArray[np.intp] = order[: int((found.registered >= threshold).sum())]
    return chosen
