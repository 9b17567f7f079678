"""The registration of `raypipe audit` beside ORB and SIFT of scikit-image with RANSAC, on the same pairs of tiles.

Each of some tiles of LC25000 is paired with the eight tiles of the most similar histograms among all 4,232. Each method
fits a map to a pair, and the same code then correlates the pixels of both tiles under this map.

With 40 tiles (130 pairs of siblings and 190 others, on 346 tiles), no method reports a false pair at the thresholds of
0.35 and 0.5. At both, raypipe finds 98.5 % of the siblings in 2.6 s of CPU time, ORB 92.3 % in 84 s, and SIFT 100 % in
170 s. These times include the keypoints of the 346 tiles. SIFT finds two pairs more and takes 65 times as long, so the
audit keeps its own registration: a tile whose pair is missed joins its group by another pair. scikit-image must be
installed: `pip install scikit-image`.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from leakage_audit import sketched
from numpy.typing import NDArray
from skimage.color import rgb2gray
from skimage.feature import ORB, SIFT, match_descriptors
from skimage.measure import ransac
from skimage.transform import AffineTransform
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from raypipe.data.audit.audit import open_data
from raypipe.data.audit.registration import (
    LARGEST_STRETCH,
    LARGEST_ZOOM,
    LEAST_AGREEING,
    TOLERANCE,
    correlate_details,
    register,
)
from raypipe.data.audit.siblings import NEIGHBORS, THRESHOLDS
from raypipe.data.audit.sketch import Sketch, sketch_tile
from raypipe.data.audit.thumbnails import THUMBNAIL, decode_thumbnail
from raypipe.data.source import Source

TRIALS = 200

Pixels = NDArray[np.float64]
Points = tuple[NDArray[np.float32], NDArray[np.generic]]
"""Places in pixels from the center, x before y, and descriptors."""

DETECTORS: dict[str, Callable[[], ORB | SIFT]] = {
    "ORB": lambda: ORB(n_keypoints=200, fast_threshold=0.02),
    "SIFT": lambda: SIFT(c_dog=0.005),
}


def describe(gray: Pixels, detector: ORB | SIFT) -> Points:
    try:
        detector.detect_and_extract(gray)
    except RuntimeError:  # a tile without keypoints
        return np.zeros((0, 2), np.float32), np.zeros((0, 1))
    return detector.keypoints[:, ::-1].astype(np.float32) - (THUMBNAIL - 1) / 2, detector.descriptors


def is_plausible(model: AffineTransform, *_: object) -> bool:
    large, small = np.linalg.svd(model.params[:2, :2], compute_uv=False)
    zoom = np.sqrt(large * small)
    return bool(small > 0 and large <= LARGEST_STRETCH * small and 1 / LARGEST_ZOOM < zoom < LARGEST_ZOOM)


def fit_map(here: Points, there: Points) -> tuple[int, NDArray[np.float32] | None]:
    """Return the number of matches that agree with a map, and the map (3, 2), or None if too few agree."""
    if min(len(here[0]), len(there[0])) < LEAST_AGREEING:
        return 0, None
    matches = match_descriptors(here[1], there[1], cross_check=True)
    if len(matches) < LEAST_AGREEING:
        return 0, None
    places = here[0][matches[:, 0]], there[0][matches[:, 1]]
    model, inliers = ransac(
        places, AffineTransform, 3, TOLERANCE, is_model_valid=is_plausible, max_trials=TRIALS, rng=0
    )
    if inliers is None or inliers.sum() < LEAST_AGREEING or not is_plausible(model):
        return 0, None
    return int(inliers.sum()), model.params[:2].T.astype(np.float32)


def register_by_ransac(name: str, source: Source, paths: list[str], sketch: Sketch, pairs: NDArray[np.intp]) -> Pixels:
    """Return the correlation of each pair. The descriptors change under a flip, so each tile is described twice."""
    points: dict[int, tuple[Points, Points]] = {}
    for tile in np.unique(pairs).tolist():
        gray = rgb2gray(decode_thumbnail(source.read(paths[tile])))
        points[tile] = describe(gray, DETECTORS[name]()), describe(gray[:, ::-1], DETECTORS[name]())
    maps, fitted = np.zeros((len(pairs), 3, 2), np.float32), np.zeros(len(pairs), bool)
    for row, (left, right) in enumerate(pairs.tolist()):
        most = 0
        for sign, flipped in zip((1, -1), points[right], strict=True):
            agreeing, model = fit_map(points[left][0], flipped)
            if model is not None and agreeing > most:
                most, fitted[row], maps[row] = agreeing, True, model * (sign, 1)
    details = (sketch.details[side].astype(np.float32) for side in pairs.T)
    return correlate_details(*details, maps, fitted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with lc25000 (tiles and groups.csv)")
    parser.add_argument("--tiles", type=int, default=60)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "Estimated model is not valid")
    folder = arguments.data / "lc25000"
    source = open_data(str(folder), str(folder / "groups.csv"))
    refs, sketch = sketched(source)
    paths = [ref.path for ref in refs]
    groups = np.array([str(ref.group) for ref in refs])
    near = NearestNeighbors(n_neighbors=NEIGHBORS, algorithm="brute").fit(sketch.histograms).kneighbors()[1]
    tiles = np.random.default_rng(0).choice(len(refs), arguments.tiles, replace=False)
    pairs = np.stack([np.repeat(tiles, NEIGHBORS), near[tiles].ravel()], axis=1)
    siblings = groups[pairs[:, 0]] == groups[pairs[:, 1]]
    involved = np.unique(pairs)
    print(f"{siblings.sum()} pairs of siblings, {(~siblings).sum()} others, {len(involved)} tiles", flush=True)

    def register_own() -> Pixels:
        for tile in involved.tolist():
            sketch_tile(decode_thumbnail(source.read(paths[tile])))  # timed with the rest, as for the others
        return register(sketch, pairs)

    methods = {"raypipe": register_own}
    methods |= {name: lambda name=name: register_by_ransac(name, source, paths, sketch, pairs) for name in DETECTORS}
    for name, method in methods.items():
        begun = time.process_time()
        similarity = method()
        seconds = time.process_time() - begun
        shares = [
            f"at {threshold}: {100 * (similarity[siblings] >= threshold).mean():.1f} % of siblings, "
            f"{(similarity[~siblings] >= threshold).sum()} others"
            for threshold in THRESHOLDS
        ]
        print(
            f"{name}: {'; '.join(shares)}; area under the ROC curve {roc_auc_score(siblings, similarity):.4f}; "
            f"{seconds:.1f} s of processor time",
            flush=True,
        )


if __name__ == "__main__":
    main()
