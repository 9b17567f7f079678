"""Thumbnails of tiles, decoded at a small scale if the format allows it."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from raypipe.data.reading.images import decode

THUMBNAIL = 128
"""Height and width in pixels."""


def decode_thumbnail(
    data: bytes, *, bit_depth: int | None = None, report_dark: Callable[[int], None] = lambda _: None
) -> npt.NDArray[np.uint8]:
    """Decode an image to a small square.

    Parameters
    ----------
    data
        Bytes of the file, as for `raypipe.data.reading.images.decode`.
    bit_depth, report_dark
        Arguments of `decode`.

    Returns
    -------
    ndarray of uint8, shape (THUMBNAIL, THUMBNAIL, 3)

    Raises
    ------
    raypipe.data.reading.images.UnreadableImage
        If `decode` raises it.
    """
    return decode(data, THUMBNAIL, scaled=True, bit_depth=bit_depth, report_dark=report_dark)
