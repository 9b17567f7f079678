"""Small pictures of tiles, decoded at a small scale where the format allows it."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from raypipe.data.images import decode

THUMBNAIL = 128
"""Pixels a side."""


def thumbnail(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode an image to a small square.

    Parameters
    ----------
    data
        The file's bytes, as for `raypipe.data.images.decode`.

    Returns
    -------
    ndarray of uint8, shape (THUMBNAIL, THUMBNAIL, 3)

    Raises
    ------
    raypipe.data.images.UnreadableImage
        As `decode`.
    """
    return decode(_scaled_down(data), THUMBNAIL)


def _scaled_down(data: bytes) -> bytes:
    """Give a large JPEG at a half, a quarter or an eighth of its size, which its transform decodes at little cost.

    Anything else, damaged files too, comes back as it is: `decode` says what is wrong with it.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            if image.draft("RGB", (THUMBNAIL, THUMBNAIL)) is None or image.mode != "RGB":
                return data
            small = io.BytesIO()
            image.save(small, "PPM")
            return small.getvalue()
    except Exception:  # noqa: BLE001  Pillow raises nearly anything for damaged files
        return data
