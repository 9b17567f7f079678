"""Search for siblings between two sets of tiles: an external test set and the training tiles of a model."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import NearestNeighbors

from raypipe.data.audit.registration import Floats, register
from raypipe.data.audit.siblings import NEIGHBORS, find_chance_threshold
from raypipe.data.audit.sketch import Sketch, join_sketches


class Overlap(NamedTuple):
    """The most similar training tile of each external tile.

    Parameters
    ----------
    nearest
        (n,) position of that training tile, for each external tile.
    similarity
        (n,) correlation of the pixels of both after one is mapped onto the other, -1 to 1.
    threshold
        Least similarity of siblings.
    """

    nearest: npt.NDArray[np.intp]
    similarity: Floats
    threshold: float


def find_overlap(training: Sketch, external: Sketch, workers: int) -> Overlap:
    """Register each external tile with the training tiles of the most similar histograms.

    The histograms, the registration and the threshold are those of the leakage audit
    (`raypipe.data.audit.siblings.find_siblings`).

    Parameters
    ----------
    training, external
        Sketches of the two sets, with at least one tile each.
    workers
        Number of threads.
    """
    known, count = len(training.histograms), len(external.histograms)
    search = NearestNeighbors(n_neighbors=min(NEIGHBORS, known), algorithm="brute").fit(training.histograms)
    near = search.kneighbors(external.histograms, return_distance=False)
    both = join_sketches(training, external)
    pairs = np.stack([near.ravel(), np.repeat(known + np.arange(count), near.shape[1])], axis=1)
    threshold = find_chance_threshold(both, pairs, workers)
    similarity = register(both, pairs, workers).reshape(near.shape)
    best = similarity.argmax(axis=1)[:, None]
    nearest, closest = (np.take_along_axis(values, best, axis=1)[:, 0] for values in (near, similarity))
    return Overlap(nearest, closest, threshold)
