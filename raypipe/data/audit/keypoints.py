"""Keypoints that siblings share: nuclei and other blobs, with descriptors that do not depend on orientation."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

KEYPOINTS = 64
"""Number of keypoints of a tile: the strongest are kept."""

SCALES = 1.3 * 2 ** (np.arange(7) / 2)
LEAST_CONTRAST = 0.1
"""Least response in gray levels. A smaller one is a rounding error."""

NOISE = 2.0
"""Gray levels that JPEG adds to a patch without structure. Without this term, normalization would amplify them to a
pattern."""

Floats = npt.NDArray[np.float32]

_RADII = np.array([1.0, 2.0, 3.0, 4.0, 5.5, 7.0])
_DIRECTIONS = 2 * np.pi * np.arange(32) / 32
_RINGS = np.stack([np.outer(_RADII, np.sin(_DIRECTIONS)), np.outer(_RADII, np.cos(_DIRECTIONS))])
_FREQUENCIES = 9
DESCRIPTOR = len(_RADII) * _FREQUENCIES + (len(_RADII) - 1) * (_FREQUENCIES - 1)


class Keypoints(NamedTuple):
    """Keypoints of one tile, strongest first. If there are fewer than `KEYPOINTS`, the remaining rows are zero.

    Parameters
    ----------
    places
        Float32, shape (KEYPOINTS, 2): x and y in pixels from the tile's center.
    descriptors
        Float16, shape (KEYPOINTS, DESCRIPTOR), of unit length.
    """

    places: npt.NDArray[np.float32]
    descriptors: npt.NDArray[np.float16]


def scale_space(gray: Floats) -> Floats:
    """Return an (n, n) image blurred with each of `SCALES`, float32 of shape (7, n, n).

    The image is mirrored at its borders.
    """
    frequency = np.pi * np.arange(len(gray), dtype=np.float32) / len(gray)
    line = np.exp(-(np.outer(SCALES, frequency).astype(np.float32) ** 2) / 2)
    blurred: Floats = fft.idctn(fft.dctn(gray) * line[:, :, None] * line[:, None, :], axes=(1, 2))
    return blurred


def find_keypoints(stack: Floats) -> Keypoints:
    """Find and describe the blobs of a tile.

    Keypoints are extrema of the difference of Gaussians in place and scale (Lowe 2004). A descriptor uses six rings
    around its keypoint, whose radii are proportional to its scale. It holds the magnitudes of each ring's angular
    Fourier transform, and the real parts of the cross-spectra of neighboring rings. Neither a rotation nor a reflection
    changes them.

    Parameters
    ----------
    stack
        Output of `scale_space` for gray levels 0 to 255.

    References
    ----------
    Lowe 2004, Distinctive image features from scale-invariant keypoints, IJCV 60(2).
    """
    level, row, column = _find_extrema(stack)
    size = SCALES[level][:, None, None]
    last = stack.shape[1] - 1
    rows = np.clip(row[:, None, None] + size * _RINGS[0], 0, last) + (level * (last + 1))[:, None, None]
    columns = np.clip(column[:, None, None] + size * _RINGS[1], 0, last)
    # The levels lie below each other: interpolation in two dimensions takes half the time of interpolation in three.
    patches = ndimage.map_coordinates(stack.reshape(-1, last + 1), [rows, columns], order=1, mode="nearest")
    places = np.zeros((KEYPOINTS, 2), np.float32)
    places[: len(row)] = np.stack([column, row], axis=1) - last / 2
    descriptors = np.zeros((KEYPOINTS, DESCRIPTOR), np.float16)
    descriptors[: len(row)] = _describe(patches)
    return Keypoints(places, descriptors)


def _find_extrema(stack: Floats) -> tuple[npt.NDArray[np.intp], ...]:
    """Return level, row and column of the strongest responses that are local maxima.

    A local maximum is exceeded by no other response within one level and two pixels.
    """
    response = np.abs(np.diff(stack, axis=0))
    highest = response
    for axis, reach in ((0, 1), (1, 2), (2, 2)):
        width = highest.shape[axis] - 2 * reach
        views = [highest.take(range(start, start + width), axis) for start in range(2 * reach + 1)]
        highest = np.maximum.reduce(views)
    inner = response[1:-1, 2:-2, 2:-2]
    level, row, column = np.nonzero((inner == highest) & (inner > LEAST_CONTRAST))
    level, row, column = level + 1, row + 2, column + 2
    strongest = np.argsort(-response[level, row, column], kind="stable")[:KEYPOINTS]
    return level[strongest], row[strongest], column[strongest]


def _describe(patches: Floats) -> Floats:
    patches = patches - patches.mean(axis=(1, 2), keepdims=True)
    patches = patches / (patches.std(axis=(1, 2), keepdims=True) + NOISE)
    spectra = np.fft.rfft(patches, axis=-1)[:, :, :_FREQUENCIES] / patches.shape[-1]
    own = np.abs(spectra)
    own[:, :, 0] = spectra[:, :, 0].real
    between = (spectra[:, :-1] * spectra[:, 1:].conj()).real[:, :, 1:]
    between = np.sign(between) * np.sqrt(np.abs(between))  # brings them to the scale of the magnitudes
    parts = np.concatenate([part.reshape(len(part), np.prod(part.shape[1:])) for part in (own, between)], axis=1)
    norms = np.linalg.norm(parts, axis=1, keepdims=True)
    described: Floats = (parts / np.maximum(norms, 1e-6)).astype(np.float32)
    return described
