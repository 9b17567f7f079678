"""Registration of a pair of tiles: the proof that they are siblings.

The second tile of a sibling pair is the first one rotated, flipped, zoomed, stretched or shifted.

scikit-image has SIFT, ORB and RANSAC. On 320 pairs of LC25000, SIFT takes 65 times as long and finds 100 % of the
siblings instead of 98.5 %, and ORB takes 32 times as long and finds 92.3 % (benchmarks/audit_registration.py).
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt

from raypipe.data.audit.sketch import DETAIL, Sketch
from raypipe.data.audit.thumbnails import THUMBNAIL

MATCHES = 24
"""Number of the most similar keypoints that are matched for each pair."""

TOLERANCE = 0.03 * THUMBNAIL
"""Largest distance in pixels of matched keypoints under the map."""

LARGEST_ZOOM = 2.5
LARGEST_STRETCH = 2.0
"""Largest ratio of a map's singular values. LC25000's rectangular source images were made square after the rotation."""

LARGEST_SHIFT = 0.6 * THUMBNAIL
"""Largest shift of overlapping fields, in pixels."""

LEAST_AGREEING = 4
"""Least number of matches that must agree with a map. Three always agree with some map."""

RIDGE = np.eye(3, dtype=np.float32)

LEAST_AREA = (0.12 * THUMBNAIL) ** 2
"""Least area, in square pixels, that two points span with the center. Below it they do not determine a map."""

LEAST_OVERLAP = 0.2
"""Least share of a tile that the other one must cover. Below it their pixels are not compared."""

NOISE = 2.0
"""Gray levels of noise. They keep tiles without structure from correlating."""

BATCH = 128

Pairs = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_FIRST, _SECOND = np.triu_indices(MATCHES, 1)
_GRID = np.stack(np.meshgrid(np.arange(1, DETAIL, 2), np.arange(1, DETAIL, 2)), axis=-1).reshape(-1, 2)


def register(sketch: Sketch, pairs: Pairs, workers: int = 1, *, mismatched: bool = False) -> Floats:
    """Return the correlation of the two tiles of each pair after registration.

    Keypoints that are each other's most similar ones are matched. Every two matches give three maps. The first is the
    linear map that keeps the center (rotation, flip, zoom and stretch), as augmentation does. The other two are
    similarities with and without a flip, which may also shift, as between overlapping fields. The map that most matches
    agree with is fitted to these matches. The tiles' details are then correlated under it.

    Parameters
    ----------
    sketch
        Sketches of the tiles.
    pairs
        Positions in `sketch`, shape (n, 2).
    workers
        Number of threads.
    mismatched
        Give each keypoint the match of another one, to measure the correlation that chance reaches with these tiles.

    Returns
    -------
    ndarray of float32, shape (n,)
        Correlation of the pixels where the tiles overlap, -1 to 1. It is -1 if no map is found.
    """
    batches = [pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH)]
    with ThreadPoolExecutor(workers) as pool:
        parts = list(pool.map(partial(_register, sketch, mismatched), batches))
    return np.concatenate([np.zeros(0, np.float32), *parts])


def _register(sketch: Sketch, mismatched: bool, pairs: Pairs) -> Floats:
    here, there, valid = _match_places(sketch, pairs)
    if mismatched:
        # A shift by half of the matches leaves no keypoint with its own match.
        there, valid = np.roll(there, MATCHES // 2, axis=1), valid & np.roll(valid, MATCHES // 2, axis=1)
    left, right = (sketch.details[side].astype(np.float32) for side in pairs.T)
    return correlate_details(left, right, *_fit_best_map(here, there, valid))


def _match_places(sketch: Sketch, pairs: Pairs) -> tuple[Floats, Floats, Mask]:
    """Return the places of matched keypoints in each tile, (n, MATCHES, 2), and a mask of the valid rows."""
    left, right = pairs.T
    likeness = sketch.descriptors[left].astype(np.float32) @ sketch.descriptors[right].astype(np.float32).swapaxes(1, 2)
    forth, back = likeness.argmax(axis=2), likeness.argmax(axis=1)
    best = np.take_along_axis(likeness, forth[..., None], axis=2)[..., 0]
    mutual = np.take_along_axis(back, forth, axis=1) == np.arange(forth.shape[1])
    best = np.where(mutual, best, 0)  # 0 marks rows without a match, as for empty keypoints
    order = np.argsort(-best, axis=1, kind="stable")[:, :MATCHES, None]
    here = np.take_along_axis(sketch.places[left], order, axis=1)
    there = np.take_along_axis(sketch.places[right], np.take_along_axis(forth[..., None], order, axis=1), axis=1)
    return here, there, np.take_along_axis(best[..., None], order, axis=1)[..., 0] > 0


def _fit_best_map(here: Floats, there: Floats, valid: Mask) -> tuple[Floats, Mask]:
    """Fit the map that most matches agree with, for each pair.

    A map is (3, 2) and applies to places with a 1 appended. The second result is True for pairs that have a map.
    """
    homogeneous = np.concatenate([here, np.ones_like(here[..., :1])], axis=-1)
    owner, maps = _list_plausible_maps(here, there, valid)
    apart = ((homogeneous[owner] @ maps - there[owner]) ** 2).sum(axis=-1)
    agreement = (np.maximum(0, 1 - apart / TOLERANCE**2) * valid[owner]).sum(axis=1)
    best = np.zeros((len(here), 3, 2), np.float32)
    order = np.argsort(agreement, kind="stable")  # ascending: the last assignment to a pair counts
    best[owner[order]] = maps[order]
    found = np.zeros(len(here), bool)
    found[owner] = True
    for _ in range(2):
        near = (((homogeneous @ best - there) ** 2).sum(axis=-1) < TOLERANCE**2) & valid
        found &= near.sum(axis=1) >= LEAST_AGREEING
        chosen = (homogeneous * near[..., None])[found].swapaxes(1, 2)
        # The ridge keeps a fit to points on one line from bending in the direction that they do not determine.
        best[found] += np.linalg.solve(
            chosen @ homogeneous[found] + RIDGE, chosen @ (there - homogeneous @ best)[found]
        )
    return best, found


def _list_plausible_maps(here: Floats, there: Floats, valid: Mask) -> tuple[npt.NDArray[np.intp], Floats]:
    """Return the plausible maps of every two matches, and the pair that each belongs to.

    A map is plausible if augmentation, or a shift between overlapping fields, may have produced it.
    """
    owner, two = np.nonzero(valid[:, _FIRST] & valid[:, _SECOND])
    points = np.stack([here[owner, _FIRST[two]], here[owner, _SECOND[two]]], axis=1)
    images = np.stack([there[owner, _FIRST[two]], there[owner, _SECOND[two]]], axis=1)
    centered, turned = _fit_centered_maps(points, images), _fit_similarities(points, images)
    owners = [owner[kept] for kept, _ in (centered, *turned)]
    return np.concatenate(owners), np.concatenate([maps for _, maps in (centered, *turned)])


def _fit_centered_maps(points: Floats, images: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
    """Return linear maps that keep the center. They rotate a tile and may stretch it."""
    usable = np.flatnonzero(np.abs(_compute_determinant(points)) > LEAST_AREA)
    maps = _invert(points[usable]) @ images[usable]
    zoom = np.abs(_compute_determinant(maps))  # squared
    # For singular values s and t: (s^2 + t^2) / st = s/t + t/s.
    stretch = (maps**2).sum(axis=(1, 2)) <= (LARGEST_STRETCH + 1 / LARGEST_STRETCH) * zoom
    plausible = (zoom > LARGEST_ZOOM**-2) & (zoom < LARGEST_ZOOM**2) & stretch
    return usable[plausible], np.pad(maps[plausible], ((0, 0), (0, 1), (0, 0)))


def _fit_similarities(points: Floats, images: Floats) -> list[tuple[npt.NDArray[np.intp], Floats]]:
    """Return maps that may shift but not stretch, as between overlapping fields: rotations without and with a flip."""
    found = []
    for flip in (1, -1):
        start = points[..., 0] + 1j * flip * points[..., 1]
        goal = images[..., 0] + 1j * images[..., 1]
        span = start[:, 1] - start[:, 0]
        usable = np.flatnonzero(np.abs(span) ** 2 > LEAST_AREA)
        factor = (goal[usable, 1] - goal[usable, 0]) / span[usable]
        shift = goal[usable, 0] - factor * start[usable, 0]
        zoom = np.abs(factor)
        plausible = (zoom > 1 / LARGEST_ZOOM) & (zoom < LARGEST_ZOOM) & (np.abs(shift) < LARGEST_SHIFT)
        factor, shift = factor[plausible], shift[plausible]
        rows = [factor, 1j * flip * factor, shift]
        maps = np.stack([np.stack([row.real, row.imag], axis=-1) for row in rows], axis=1)
        found.append((usable[plausible], maps.astype(np.float32)))
    return found


def _compute_determinant(matrices: Floats) -> Floats:
    return matrices[:, 0, 0] * matrices[:, 1, 1] - matrices[:, 0, 1] * matrices[:, 1, 0]


def _invert(matrices: Floats) -> Floats:
    adjugate = np.stack([matrices[:, 1, 1], -matrices[:, 0, 1], -matrices[:, 1, 0], matrices[:, 0, 0]], axis=-1)
    inverse: Floats = adjugate.reshape(-1, 2, 2) / _compute_determinant(matrices)[:, None, None]
    return inverse


def correlate_details(left: Floats, right: Floats, maps: Floats, plausible: Mask) -> Floats:
    """Correlate the details of two tiles where they overlap under a map.

    Parameters
    ----------
    left, right
        (n, DETAIL, DETAIL) details of the tiles of each pair.
    maps
        (n, 3, 2) maps of places in the left tile, with a 1 appended, to places in the right one.
    plausible
        (n,) True for pairs that have a map.

    Returns
    -------
    ndarray of float32, shape (n,)
        Correlations, -1 to 1; -1 where there is no map, or too little overlap.
    """
    result = np.full(len(left), -1, np.float32)
    left, right, maps = left[plausible], right[plausible], maps[plausible]
    middle = np.float32((DETAIL - 1) / 2)
    scale = np.float32(THUMBNAIL / DETAIL)
    place = (_GRID.astype(np.float32) - middle) @ maps[:, :2] + maps[:, 2:] / scale + middle
    inside: Mask = np.all((place >= 0) & (place < DETAIL - 1), axis=-1)
    ours = left[:, _GRID[:, 1], _GRID[:, 0]]
    theirs = _interpolate(right, np.where(inside[..., None], place, 0))
    count = np.maximum(inside.sum(axis=1), 1)
    ours, theirs = (_center(values, inside, count) for values in (ours, theirs))
    power = [(values**2).sum(axis=1) + NOISE**2 * count for values in (ours, theirs)]
    correlation = (ours * theirs).sum(axis=1) / np.sqrt(power[0] * power[1])
    result[plausible] = np.where(count >= LEAST_OVERLAP * len(_GRID), correlation, -1)
    return result


def _center(values: Floats, inside: Mask, count: npt.NDArray[np.intp]) -> Floats:
    mean = np.where(inside, values, 0).sum(axis=1) / count
    centered: Floats = np.where(inside, values - mean[:, None].astype(np.float32), 0)
    return centered


def _interpolate(images: Floats, place: Floats) -> Floats:
    """Return bilinear values of (n, DETAIL, DETAIL) images at (n, m, 2) places, x before y."""
    corner = place.astype(np.intp)
    x, y = np.moveaxis(place - corner, -1, 0)
    start = corner[..., 1] * DETAIL + corner[..., 0]
    flat = images.reshape(-1, DETAIL * DETAIL)

    def at(offset: int) -> Floats:
        return np.take_along_axis(flat, start + offset, axis=1)

    values: Floats = (at(0) * (1 - x) + at(1) * x) * (1 - y) + (at(DETAIL) * (1 - x) + at(DETAIL + 1) * x) * y
    return values
