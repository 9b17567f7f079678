"""Thumbnails of tiles, decoded at a small scale if the format allows it."""

import numpy as np
import numpy.typing as npt

from raypipe.data.reading.images import decode

THUMBNAIL = 128
"""Height and width in pixels."""


def thumbnail(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode an image to a small square.

    Parameters
    ----------
    data
        Bytes of the file, as for `raypipe.data.reading.images.decode`.

    Returns
    -------
    ndarray of uint8, shape (THUMBNAIL, THUMBNAIL, 3)

    Raises
    ------
    raypipe.data.reading.images.UnreadableImage
        If `decode` raises it.
    """
    return decode(data, THUMBNAIL, scaled=True)
