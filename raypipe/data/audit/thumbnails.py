"""Small pictures of tiles, decoded at a small scale where the format allows it."""

import numpy as np
import numpy.typing as npt

from raypipe.data.reading.images import decode

THUMBNAIL = 128
"""Pixels a side."""


def thumbnail(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode an image to a small square.

    Parameters
    ----------
    data
        The file's bytes, as for `raypipe.data.reading.images.decode`.

    Returns
    -------
    ndarray of uint8, shape (THUMBNAIL, THUMBNAIL, 3)

    Raises
    ------
    raypipe.data.reading.images.UnreadableImage
        As `decode`.
    """
    return decode(data, THUMBNAIL, scaled=True)
