"""Values of images of more than 8 bits, of which Pillow gives the high bytes alone in color."""

import io
import struct

import numpy as np
import numpy.typing as npt
from PIL import Image

PLANES = "planes"
"""Raw mode of a TIFF that stores each color in a plane of its own."""
GRAY_ALPHA = "LA;16B"
PREMULTIPLIED = "RGBa"
RAW_MODES = frozenset(
    (
        *(f"{colors};16{order}" for colors in ("RGB", "RGBX", "RGBA", PREMULTIPLIED) for order in "BLN"),
        GRAY_ALPHA,
        PLANES,
    )
)
"""Pillow's names for pixels of 16 bits in color or with alpha."""
TAGS = {"bits": 258, "photometric": 262, "planar": 284, "largest": 281, "format": 339}
"""Tags of TIFF: bits of a sample, meaning of 0, place of the colors, largest value, and kind of number."""
SEPARATE = 2
"""Value of the tag `planar` for a plane of each color."""


class RangeError(ValueError):
    """Error for values that are out of reach or out of range. The message says which."""


def find_raw_mode(image: Image.Image) -> str | None:
    """Return the raw mode of an opened image of 16 bits in color or with alpha, one of `RAW_MODES`, or None."""
    parts = getattr(image, "tile", None)
    if image.mode not in ("RGB", "RGBA") or not parts:
        return None
    if read_tag(image, "planar") == SEPARATE and read_tag(image, "bits") > 8:
        return PLANES
    args = parts[0].args
    raw = args if isinstance(args, str) else args[0] if args else None
    return raw if raw in RAW_MODES else None


def is_uncompressed(image: Image.Image) -> bool:
    """Return True if the pixels of an opened image lie in its file as they are."""
    return all(part.codec_name == "raw" for part in getattr(image, "tile", ()))


def read_values(image: Image.Image, data: bytes) -> npt.NDArray[np.int64]:
    """Return (height, width) or (height, width, 3 or 4) values of a deep image that was not loaded yet.

    Pillow turns a TIFF upright when it reads it, except for planes.

    Raises
    ------
    RangeError
        If only the high bytes of the values can be read.
    """
    raw = find_raw_mode(image)
    if raw is None:
        return np.asarray(image).astype(np.int64)
    if raw == PLANES:
        return _read_planes(image, data)
    if raw == GRAY_ALPHA:  # two values of two bytes, as the four bytes of RGBA
        pairs = _read_bytes(data, image, "RGBA").astype(np.int64)
        gray, alpha = pairs[..., 0] * 256 + pairs[..., 1], pairs[..., 2] * 256 + pairs[..., 3]
        return np.stack([gray, gray, gray, alpha], axis=2)
    mode, _, order = raw.replace(PREMULTIPLIED, "RGBA").partition(";16")
    native = "L" if struct.pack("=H", 1)[0] else "B"
    other = {"B": "L", "L": "B"}[native if order == "N" else order]
    high, low = (_read_bytes(data, image, f"{mode};16{each}") for each in (order, other))
    return high.astype(np.int64) * 256 + low


def _read_bytes(data: bytes, like: Image.Image, raw: str) -> npt.NDArray[np.uint8]:
    """Return one byte of each value: that which Pillow takes for the high one if the raw mode is another."""
    with Image.open(io.BytesIO(data), formats=(str(like.format),)) as image:
        image.tile = [
            part._replace(args=(raw, *part.args[1:]) if isinstance(part.args, tuple) else raw) for part in image.tile
        ]
        return np.array(image)


def _read_planes(image: Image.Image, data: bytes) -> npt.NDArray[np.int64]:
    """Return the values of a TIFF with a plane for each color, which Pillow reads as if they were bytes."""
    if not is_uncompressed(image):
        raise RangeError(
            "16-bit colors in compressed planes, of which only the high bytes can be read: expected the colors of a "
            "pixel together (PlanarConfiguration 1)"
        )
    kind, (width, height) = np.dtype("<u2" if data.startswith(b"II") else ">u2"), image.size
    bands = image.getbands()
    values = np.zeros((height, width, len(bands)), np.int64)
    for part in getattr(image, "tile", ()):
        left, top, right, bottom = part.extents or (0, 0, width, height)
        band, stride, _ = part.args
        if bands == ("R", "G", "B") and band not in bands:
            continue  # a plane that is no color
        columns = stride // kind.itemsize or right - left
        cut = np.frombuffer(data, kind, (bottom - top) * columns, part.offset).reshape(bottom - top, columns)
        values[top:bottom, left:right, bands.index(band)] = cut[:, : right - left]
    return values


def read_tag(image: Image.Image, name: str) -> int:
    """Return the smallest value of a tag of TIFF, or -1 if the image has none."""
    value = getattr(image, "tag_v2", {}).get(TAGS[name])
    values = value if isinstance(value, tuple) else (value,)
    return min((int(each) for each in values if isinstance(each, int | float)), default=-1)
