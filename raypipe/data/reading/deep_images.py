"""Images of more than 8 bits: their values, the range that these use, and their conversion to 8 bits."""

import io
import struct

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

PNG_HEADER = 33
"""Bytes of a PNG before its second chunk: the signature, and the header."""
TOP = 65535
"""Largest value of 16 bits."""
DEEP_TAGS = {"bits": 258, "photometric": 262, "largest": 281}
"""Tags of TIFF: bits of a sample, meaning of 0, and largest value."""
WHITE_IS_ZERO = 0
FEWEST_BITS = 9
"""Smallest bit depth that a 16-bit image can be said to use."""
DARK = 4
"""An image uses few of its bits if all values are below the largest one divided by this."""


def count_bits(brightest: int) -> int:
    """Return the least number of bits of 16-bit images that a brightest value fits into, 9 to 16."""
    return max(FEWEST_BITS, brightest.bit_length())


def describe_dark(count: int, brightest: int) -> str:
    """Return the warning of 16-bit images that are dark, by their number and their brightest value, with the remedy."""
    bits = count_bits(brightest)
    return (
        f"{count} 16-bit images are dark: the brightest value of all is {brightest} of {TOP}; if their values have "
        f"fewer bits, say so: tiles.bit_depth (--bit-depth) = {bits} for values up to {2**bits - 1}"
    )


class RangeError(ValueError):
    """Error for values outside of the range that they should have. The message names both."""


def is_deep(image: Image.Image) -> bool:
    """Return True if an opened image has more than 8 bits a value, in gray or in color."""
    return image.mode.startswith("I") or _raw_mode(image) is not None


def find_bit_depth(image: Image.Image, data: bytes) -> int | None:
    """Return the number of bits that the values use as the file states it, or None if it states none below 16.

    The chunk ``sBIT`` of PNG states it, and the tags ``BitsPerSample`` and ``MaxSampleValue`` of TIFF.

    Parameters
    ----------
    image
        Opened image.
    data
        Bytes of its file.
    """
    if image.format == "PNG":
        stated = min(_significant_bits(data), default=16)
    else:
        bits, largest = (_tag(image, name) for name in ("bits", "largest"))
        stated = bits if 8 < bits < 16 else int(largest + 1).bit_length() - 1 if _is_full(largest) else 16
    return stated if 8 < stated < 16 else None


def convert_to_eight_bits(
    image: Image.Image, data: bytes, bit_depth: int | None = None
) -> tuple[Image.Image, int | None]:
    """Return an image of 8 bits in gray, RGB or RGBA, with its orientation, and its brightest value.

    The brightest value is that of the file, if the file does not state its range and uses less than a quarter of 16
    bits. Otherwise it is None.

    Parameters
    ----------
    image
        Opened image for which `is_deep` is true.
    data
        Bytes of its file.
    bit_depth
        Number of bits that the values use. None takes the number that the file states, or 16.

    Raises
    ------
    RangeError
        If a value is outside of the range.
    """
    stated = find_bit_depth(image, data)
    if _raw_mode(image) is not None and bit_depth is None and stated is None:
        return _keep_high_bytes(image, data)
    values = _read_values(image, data)
    color = values[..., :3] if values.ndim == 3 else values
    low, high = int(color.min()), int(color.max())
    top = 2**bit_depth - 1 if bit_depth else TOP
    if low < 0 or high > top:
        hint = "" if bit_depth is None else f" (bit_depth = {bit_depth})"
        raise RangeError(f"integer pixels from {low} to {high}: expected 0..{top}{hint}")
    if bit_depth is None and stated is not None and _is_right_aligned(color, stated):
        top = 2**stated - 1
    dark = bit_depth is None and top == TOP and 0 < high < TOP // DARK
    if values.ndim == 2 and image.format == "TIFF" and _tag(image, "photometric") == WHITE_IS_ZERO:
        values = top - values
    scaled = np.rint(values * (255 / top)).clip(0, 255).astype(np.uint8)
    if values.ndim == 3 and values.shape[2] == 4 and values[..., 3].max() > top:
        scaled[..., 3] = np.rint(values[..., 3] / 257).astype(np.uint8)  # the full range, beside colors of fewer bits
    return _orient_like(Image.fromarray(scaled), image), high if dark else None


def _is_right_aligned(values: npt.NDArray[np.integer], bits: int) -> bool:
    """Return True if values of fewer bits are stored as they are.

    PNG demands that a writer shifts them to the left, but not all writers do it.
    """
    return int(values.max()) < 2**bits and bool((values & (2 ** (16 - bits) - 1)).any())


def _keep_high_bytes(image: Image.Image, data: bytes) -> tuple[Image.Image, int | None]:
    """Return a color image as Pillow converts it, by the high bytes, and its brightest value if all values are dark."""
    image.load()
    pixels = np.asarray(image)[..., :3]
    dark = int(pixels.max()) < (TOP // DARK) // 256
    with Image.open(io.BytesIO(data), formats=(str(image.format),)) as again:
        brightest = int(_read_values(again, data)[..., :3].max()) if dark else 0
    return image, brightest or None


def _read_values(image: Image.Image, data: bytes) -> npt.NDArray[np.int64]:
    """Return (height, width) or (height, width, 3 or 4) values of a deep image that was not loaded yet.

    Pillow gives one byte of two in color, so the image is read once for the high bytes and once for the low ones.
    """
    raw = _raw_mode(image)
    if raw is None:
        return np.asarray(image).astype(np.int64)
    mode, _, order = raw.partition(";16")
    native = "L" if struct.pack("=H", 1)[0] else "B"
    other = {"B": "L", "L": "B"}[native if order == "N" else order]
    high, low = (_read_bytes(data, image, f"{mode};16{each}") for each in (order, other))
    return high.astype(np.int64) * 256 + low


def _read_bytes(data: bytes, like: Image.Image, raw: str) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(data), formats=(str(like.format),)) as image:
        image.tile = [
            part._replace(args=(raw, *part.args[1:]) if isinstance(part.args, tuple) else raw) for part in image.tile
        ]
        return np.array(image)


def _raw_mode(image: Image.Image) -> str | None:
    """Return the raw mode of an image of 16 bits in RGB or RGBA, such as RGB;16B, or None for any other image."""
    parts = getattr(image, "tile", None)
    if image.mode not in ("RGB", "RGBA") or not parts:
        return None
    args = parts[0].args
    raw = args if isinstance(args, str) else args[0] if args else None
    known = [f"{image.mode};16{order}" for order in "BLN"]
    return raw if raw in known else None


def _significant_bits(data: bytes) -> list[int]:
    """Return the values of the chunk ``sBIT`` of a PNG, which is before its pixels; none if it has no such chunk."""
    position = PNG_HEADER
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        if name == b"sBIT":
            return list(data[position + 8 : position + 8 + length])
        if name in (b"IDAT", b"IEND"):
            break
        position += 12 + length
    return []


def _tag(image: Image.Image, name: str) -> int:
    """Return the smallest value of a tag of TIFF, or -1 if the image has none."""
    value = getattr(image, "tag_v2", {}).get(DEEP_TAGS[name])
    values = value if isinstance(value, tuple) else (value,)
    return min((int(each) for each in values if isinstance(each, int | float)), default=-1)


def _is_full(largest: int) -> bool:
    """Return True if a largest value is that of a number of bits, not that of one image."""
    return largest > 0 and largest & (largest + 1) == 0


def _orient_like(image: Image.Image, other: Image.Image) -> Image.Image:
    orientation = other.getexif().get(ExifTags.Base.Orientation)
    if orientation is not None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        image.info["exif"] = exif.tobytes()
    return image
