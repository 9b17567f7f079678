"""A data set of arrays in memory."""

import hashlib
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raypipe.data.reading.annotations import clean_value
from raypipe.data.reading.png import encode_png
from raypipe.data.source import TileRef, compute_fingerprint

Images = NDArray[Any] | Tensor
"""Images in memory, as `read_images` takes them."""
MOST = 255
"""Largest level of an 8-bit image."""
LEVEL_TOLERANCE = 0.01
"""Largest distance of a float from its level, in levels: that of rounding errors, as of a normalization undone."""


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Tiles in memory.

    Parameters
    ----------
    images
        Images (n, h, w, 3), uint8.
    truth
        (n,) true classes, 0 to classes - 1.
    labels
        Names of the classes.
    groups
        (n,) source tile of each tile; None if unknown.
    malignant, synthetic, restriction
        Facts as in `raypipe.data.source.Source`; nothing is known of arrays.
    """

    images: NDArray[np.uint8]
    truth: NDArray[np.int64]
    labels: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    malignant: tuple[str, ...] = ()
    synthetic: bool = False
    restriction: str | None = None

    def list(self) -> Sequence[TileRef]:
        """List every image, by its position."""
        width = len(str(len(self.images)))
        groups = map(clean_value, self.groups or [None] * len(self.images))
        return [
            TileRef(f"{position:0{width}}", self.labels[label], group)
            for position, (label, group) in enumerate(zip(self.truth.tolist(), groups, strict=True))
        ]

    def read(self, path: str) -> bytes:
        """Return an image as PNG."""
        return encode_png(self.images[int(path)])

    def fingerprint(
        self,
        refs: Iterable[TileRef],
        cache: MutableMapping[str, str] | None = None,  # noqa: ARG002  required by the protocol
    ) -> str:
        """Return a hex digest of these tiles."""
        refs = list(refs)
        contents = {ref.path: hashlib.sha256(self.images[int(ref.path)].tobytes()).hexdigest() for ref in refs}
        return compute_fingerprint(self.labels, refs, contents)


def read_images(images: Images) -> NDArray[np.uint8]:
    """Return images in memory as (n, h, w, 3), uint8, without a copy if they are that already.

    Parameters
    ----------
    images
        NumPy array or PyTorch tensor of n >= 1 images, (n, h, w, 3) or (n, 3, h, w). If both fit, the last axis of an
        array has the colors, and the second one of a tensor. Whole numbers from 0 to 255 as uint8, or floats in [0, 1]
        that are levels of 8-bit images, k/255.

    Raises
    ------
    ValueError
        If it has another type, shape or range, or if floats lie between two levels, because attacks start from 8-bit
        images.
    """
    is_tensor = isinstance(images, Tensor)
    if isinstance(images, Tensor):
        images = images.detach().cpu()
        images = (images.float() if images.dtype == torch.bfloat16 else images).numpy()
    if not isinstance(images, np.ndarray):
        raise ValueError(  # noqa: TRY004  all errors of arguments are ValueErrors
            f"images are a {type(images).__name__}: expected a NumPy array or a tensor, uint8 or floats in [0, 1], "
            "(n, h, w, 3) or (n, 3, h, w); of a list, numpy.stack(images)"
        )
    axes = [axis for axis in ((1, 3) if is_tensor else (3, 1)) if images.ndim == 4 and images.shape[axis] == 3]
    if not (images.dtype == np.uint8 or images.dtype.kind == "f") or not axes or not len(images):
        raise ValueError(
            f"images {images.dtype} {images.shape}: expected uint8 or floats in [0, 1], (n, h, w, 3) or (n, 3, h, w), "
            "n >= 1"
        )
    levels = images if images.dtype == np.uint8 else _find_levels(images)
    return levels if axes[0] == 3 else np.ascontiguousarray(levels.transpose(0, 2, 3, 1))


def _find_levels(images: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the levels k of images k/255."""
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):  # NaN is refused, too
        raise ValueError(
            f"images {images.dtype} from {low:.4g} to {high:.4g}: expected floats in [0, 1], or uint8; give images "
            "that are not normalized, and the module with its normalization"
        )
    scaled = images.astype(np.float64) * MOST
    levels = np.rint(scaled)
    tolerance = max(LEVEL_TOLERANCE, MOST * float(np.finfo(images.dtype).eps))
    between = np.abs(scaled - levels).max()
    if between > tolerance:
        raise ValueError(
            f"images {images.dtype} lie up to {between:.2g} levels from those of 8-bit images, k/255: attacks start "
            "from 8-bit images; round them, (255 * images).round() / 255, and test the model on the rounded images"
        )
    return levels.astype(np.uint8)


def open_arrays(
    images: Images,
    labels: NDArray[np.integer] | Tensor | Sequence[int],
    classes: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> ArraySource:
    """Return tiles in memory as a data set.

    Parameters
    ----------
    images
        Images as in `read_images`.
    labels
        (n,) true classes, 0 to classes - 1.
    classes
        Names of the classes; default: their numbers.
    groups
        (n,) source tile of each tile; default: every tile is a group of its own.

    Raises
    ------
    ValueError
        If shapes or types do not fit.
    """
    tiles = read_images(images)
    truth = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    if truth.shape != tiles.shape[:1] or truth.dtype.kind not in "iu" or truth.min() < 0:
        raise ValueError(f"labels {truth.dtype} {truth.shape}: expected ({len(tiles)},) whole numbers from 0")
    names = tuple(classes) if classes is not None else tuple(map(str, range(int(truth.max()) + 1)))
    if truth.max() >= len(names):
        raise ValueError(f"labels up to {truth.max()}, but {len(names)} classes: expected a name for each")
    if len(set(names)) < len(names):
        raise ValueError(f"classes {', '.join(names)}: expected a different name for each")
    if groups is not None and len(groups) != len(tiles):
        raise ValueError(f"{len(groups)} groups for {len(tiles)} images: expected one for each")
    return ArraySource(tiles, truth.astype(np.int64), names, tuple(groups) if groups is not None else None)
