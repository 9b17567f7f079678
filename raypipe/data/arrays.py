"""A data set of arrays in memory."""

import hashlib
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raypipe.data.reading.annotations import clean_value
from raypipe.data.reading.png import encode_png
from raypipe.data.source import TileRef, compute_fingerprint


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


def require_images(images: NDArray[np.uint8]) -> None:
    """Require an array of images (n, h, w, 3), uint8.

    Raises
    ------
    ValueError
        If it has another type or shape.
    """
    if not isinstance(images, np.ndarray):
        raise ValueError(  # noqa: TRY004  all errors of arguments are ValueErrors
            f"images are a {type(images).__name__}: expected a NumPy array, uint8 (n, h, w, 3); of a tensor, "
            "images.cpu().numpy(), and of a list, numpy.stack(images)"
        )
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not len(images):
        raise ValueError(
            f"images {images.dtype} {images.shape}: expected uint8 (n, h, w, 3), n >= 1; of floats in [0, 1] and "
            "(n, 3, h, w), (255 * images).round().astype('uint8').transpose(0, 2, 3, 1)"
        )


def open_arrays(
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    classes: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
) -> ArraySource:
    """Return tiles in memory as a data set.

    Parameters
    ----------
    images
        Images (n, h, w, 3), uint8.
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
    require_images(images)
    truth = np.asarray(labels)
    if truth.shape != images.shape[:1] or truth.dtype.kind not in "iu" or truth.min() < 0:
        raise ValueError(f"labels {truth.dtype} {truth.shape}: expected ({len(images)},) whole numbers from 0")
    names = tuple(classes) if classes is not None else tuple(map(str, range(int(truth.max()) + 1)))
    if truth.max() >= len(names):
        raise ValueError(f"labels up to {truth.max()}, but {len(names)} classes: expected a name for each")
    if len(set(names)) < len(names):
        raise ValueError(f"classes {', '.join(names)}: expected a different name for each")
    if groups is not None and len(groups) != len(images):
        raise ValueError(f"{len(groups)} groups for {len(images)} images: expected one for each")
    return ArraySource(images, truth.astype(np.int64), names, tuple(groups) if groups is not None else None)
