"""Which tiles of a data set are siblings: candidates by likeness, proof by registration, a threshold by chance."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors

from raypipe.data.audit.grouping import join_pairs
from raypipe.data.audit.registration import Floats, Pairs, register
from raypipe.data.audit.sketch import Progress, Sketch

NEIGHBOURS = 8
"""Most alike tiles that each tile is registered with at first."""

SEARCHED = 150
"""Most alike tiles among which a group's candidates outside of it are found; LC25000's largest group has 53 tiles."""

FURTHER = 100
"""Pairs with tiles outside of it that each group is given in a further round."""

ROUNDS = 4

CHANCE = 20_000
"""Pairs at most from which it is seen what chance reaches."""

BLOCK = 4096
"""Pairs between two reports of progress."""

MARGIN = 1.5
"""A sibling pair is this many times as similar as any pair became whose keypoints were matched wrongly on purpose."""

THRESHOLDS = (0.35, 0.5)
"""The least and the greatest threshold, whatever chance gave: few tiles say little of it."""


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
    similarity: Floats
    threshold: float
    compared: int


def find_siblings(sketch: Sketch, workers: int, progress: Progress) -> Siblings:
    """Find the groups of tiles that were augmented from one source tile, or show overlapping fields.

    Each tile is registered with the tiles of the most similar histograms, and then, until nothing new turns up,
    each group with the tiles most like its own outside of it.

    Parameters
    ----------
    sketch
        The tiles, at least two.
    workers
        Threads.
    progress
        Shows how far each round is.
    """
    count = len(sketch.histograms)
    near, distance = _neighbours(sketch.histograms)
    first = near[:, :NEIGHBOURS]
    pairs = _ordered(np.repeat(np.arange(count), first.shape[1]), first.ravel())
    chance = register(sketch, pairs[:: 1 + len(pairs) // CHANCE], workers, mismatched=True)
    threshold = float(np.clip(MARGIN * chance.max(), *THRESHOLDS))
    similarity = _registered(sketch, pairs, workers, progress)
    group = join_pairs(_surest(pairs, similarity, threshold)[0], count)
    for _ in range(ROUNDS - 1):
        more = _unseen(_across_groups(group, near, distance), pairs, count)
        if not len(more):
            break
        similarity = np.concatenate([similarity, _registered(sketch, more, workers, progress)])
        pairs = np.concatenate([pairs, more])
        group = join_pairs(_surest(pairs, similarity, threshold)[0], count)
    return Siblings(group, *_surest(pairs, similarity, threshold), threshold, len(pairs))


def _neighbours(histograms: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
    """Positions of each tile's nearest others, nearest first, and their distances; in blocks, of bounded memory."""
    search = NearestNeighbors(n_neighbors=min(SEARCHED, len(histograms) - 1), algorithm="brute").fit(histograms)
    distance, near = search.kneighbors()
    return near, distance.astype(np.float32)


def _across_groups(group: npt.NDArray[np.intp], near: npt.NDArray[np.intp], distance: Floats) -> Pairs:
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


def _registered(sketch: Sketch, pairs: Pairs, workers: int, progress: Progress) -> Floats:
    parts = [np.zeros(0, np.float32)]
    with progress("compare", len(pairs), "pairs") as stage:
        for start in range(0, len(pairs), BLOCK):
            parts.append(register(sketch, pairs[start : start + BLOCK], workers))
            stage.advance(len(parts[-1]))
    return np.concatenate(parts)


def _surest(pairs: Pairs, similarity: Floats, threshold: float) -> tuple[Pairs, Floats]:
    """The pairs that reach the threshold, most similar first, and how similar they are."""
    order = np.argsort(-similarity, kind="stable")[: int((similarity >= threshold).sum())]
    return pairs[order], similarity[order]
