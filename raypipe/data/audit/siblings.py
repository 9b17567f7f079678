"""Search for siblings: candidates by histogram, verification by registration, and a threshold from chance."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors

from raypipe.data.audit.grouping import join_pairs
from raypipe.data.audit.registration import Floats, Pairs, register
from raypipe.data.audit.sketch import Progress, Sketch

NEIGHBORS = 8
"""Number of most similar tiles that each tile is registered with in the first round."""

SEARCHED = 150
"""Number of most similar tiles of a tile in which candidates outside its group are found. LC25000's largest group has
53 tiles."""

FURTHER = 100
"""Number of pairs with tiles outside of it that each group gets in a further round."""

ROUNDS = 4

CHANCE = 20_000
"""Largest number of pairs for the estimate of the similarity that chance reaches."""

BLOCK = 4096
"""Number of pairs between two reports of progress."""

MARGIN = 1.5
"""Ratio of the threshold, before it is clipped, to the largest similarity of pairs whose keypoints were mismatched on
purpose."""

THRESHOLDS = (0.35, 0.5)
"""Least and greatest threshold. The estimate from chance is clipped to them, because few tiles give a poor estimate."""


class Siblings(NamedTuple):
    """Groups and pairs of siblings that the search found.

    Parameters
    ----------
    group
        Int, shape (n,): position of the first tile of each tile's group.
    pairs
        Int, shape (m, 2): sibling pairs, most similar first.
    similarity
        Float32, shape (m,), -1 to 1.
    threshold
        Least similarity of a sibling pair.
    compared
        Number of pairs that were registered.
    """

    group: npt.NDArray[np.intp]
    pairs: Pairs
    similarity: Floats
    threshold: float
    compared: int


def find_siblings(sketch: Sketch, workers: int, progress: Progress) -> Siblings:
    """Find groups of tiles that were augmented from one source tile, or that show overlapping fields.

    Each tile is registered with the tiles of the most similar histograms. Then each group is registered with the most
    similar tiles outside of it, in rounds, until there are no new pairs or no rounds left.

    Parameters
    ----------
    sketch
        Sketches of the tiles, at least two.
    workers
        Number of threads.
    progress
        Display of each round's progress.
    """
    count = len(sketch.histograms)
    near, distance = _find_neighbors(sketch.histograms)
    first = near[:, :NEIGHBORS]
    pairs = _order_pairs(np.repeat(np.arange(count), first.shape[1]), first.ravel())
    threshold = find_chance_threshold(sketch, pairs, workers)
    similarity = _measure_similarity(sketch, pairs, workers, progress)
    group = join_pairs(_select_surest(pairs, similarity, threshold)[0], count)
    for _ in range(ROUNDS - 1):
        more = _drop_known(_find_pairs_across(group, near, distance), pairs, count)
        if not len(more):
            break
        similarity = np.concatenate([similarity, _measure_similarity(sketch, more, workers, progress)])
        pairs = np.concatenate([pairs, more])
        group = join_pairs(_select_surest(pairs, similarity, threshold)[0], count)
    return Siblings(group, *_select_surest(pairs, similarity, threshold), threshold, len(pairs))


def find_chance_threshold(sketch: Sketch, pairs: Pairs, workers: int) -> float:
    """Return the least similarity of siblings: more than chance reaches with these pairs."""
    chance = register(sketch, pairs[:: 1 + len(pairs) // CHANCE], workers, mismatched=True)
    return float(np.clip(MARGIN * chance.max(), *THRESHOLDS))


def _find_neighbors(histograms: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
    """Return the positions of each tile's nearest other tiles, nearest first, and their distances.

    The brute-force search works in blocks, so its memory is bounded.
    """
    search = NearestNeighbors(n_neighbors=min(SEARCHED, len(histograms) - 1), algorithm="brute").fit(histograms)
    distance, near = search.kneighbors()
    return near, distance.astype(np.float32)


def _find_pairs_across(group: npt.NDArray[np.intp], near: npt.NDArray[np.intp], distance: Floats) -> Pairs:
    """Return the closest pairs of each group with tiles outside of it."""
    tile, place = np.nonzero(group[near] != group[:, None])
    order = np.lexsort((distance[tile, place], group[tile]))
    tile, place = tile[order], place[order]
    _, start, size = np.unique(group[tile], return_index=True, return_counts=True)
    rank = np.arange(len(tile)) - np.repeat(start, size)
    chosen = rank < FURTHER
    return _order_pairs(tile[chosen], near[tile[chosen], place[chosen]])


def _order_pairs(left: npt.NDArray[np.intp], right: npt.NDArray[np.intp]) -> Pairs:
    """Return every pair once, with its lower position first."""
    pairs: Pairs = np.unique(np.sort(np.stack([left, right], axis=1), axis=1), axis=0)
    return pairs


def _drop_known(pairs: Pairs, known: Pairs, count: int) -> Pairs:
    weights = np.array([count, 1])
    fresh: Pairs = pairs[~np.isin(pairs @ weights, known @ weights)]
    return fresh


def _measure_similarity(sketch: Sketch, pairs: Pairs, workers: int, progress: Progress) -> Floats:
    parts = [np.zeros(0, np.float32)]
    with progress("compare", len(pairs), "pairs") as stage:
        for start in range(0, len(pairs), BLOCK):
            parts.append(register(sketch, pairs[start : start + BLOCK], workers))
            stage.advance(len(parts[-1]))
    return np.concatenate(parts)


def _select_surest(pairs: Pairs, similarity: Floats, threshold: float) -> tuple[Pairs, Floats]:
    """Return the pairs that reach the threshold, most similar first, and their similarities."""
    order = np.argsort(-similarity, kind="stable")[: int((similarity >= threshold).sum())]
    return pairs[order], similarity[order]
