"""Images of more than 8 bits: their values, the range that these use, and their conversion to 8 bits."""

import io
import struct

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from raypipe.data.reading.deep_values import (
    PLANES,
    PREMULTIPLIED,
    RangeError,
    find_raw_mode,
    is_uncompressed,
    read_tag,
    read_values,
)

PNG_HEADER = 33
"""Bytes of a PNG before its second chunk: the signature, and the header."""
TOP = 65535
"""Largest value of 16 bits."""
WHITE_IS_ZERO = 0
SIGNED = 2
"""Value of the tag of TIFF for numbers with a sign, of which 15 of 16 bits are left for the size."""
FEWEST_BITS = 8
"""Smallest bit depth that a 16-bit image can be said to use."""
DARK = 4
"""An image uses few of its bits if all values are below the largest one divided by this."""


def count_bits(brightest: int) -> int:
    """Return the least number of bits of 16-bit images that a brightest value fits into, 8 to 16."""
    return max(FEWEST_BITS, brightest.bit_length())


def describe_dark(count: int, brightest: int) -> str:
    """Return the warning of 16-bit images that are dark, by their number and their brightest value, with the remedy."""
    bits = count_bits(brightest)
    return (
        f"{count} 16-bit images are dark: the brightest value of all is {brightest} of {TOP}; if their values have "
        f"fewer bits, say so: tiles.bit_depth (--bit-depth) = {bits} for values up to {2**bits - 1}"
    )


def is_deep(image: Image.Image) -> bool:
    """Return True if an opened image has more than 8 bits a value, in gray or in color."""
    return image.mode.startswith("I") or find_raw_mode(image) is not None


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
        stated = min(_read_significant_bits(data), default=16)
    else:
        bits, largest = (read_tag(image, name) for name in ("bits", "largest"))
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
        If a value is outside of the range, or cannot be read.
    """
    stated, raw = find_bit_depth(image, data), find_raw_mode(image)
    readable = raw is not None and not (raw == PLANES and is_uncompressed(image))  # by Pillow
    if readable and bit_depth is None and stated is None:
        return _keep_high_bytes(image, data)
    values = read_values(image, data)
    color = values[..., :3] if values.ndim == 3 else values
    low, high = int(color.min()), int(color.max())
    full = TOP // 2 if (read_tag(image, "format"), read_tag(image, "bits")) == (SIGNED, 16) else TOP
    top = 2**bit_depth - 1 if bit_depth else full
    if low < 0 or high > top:
        hint = "" if bit_depth is None else f" (bit_depth = {bit_depth})"
        raise RangeError(f"integer pixels from {low} to {high}: expected 0..{top}{hint}")
    if bit_depth is None and stated is not None and _is_right_aligned(color, stated):
        top = 2**stated - 1
    dark = bit_depth is None and top == full and 0 < high < full // DARK
    if values.ndim == 2 and image.format == "TIFF" and read_tag(image, "photometric") == WHITE_IS_ZERO:
        values = top - values
    scaled = np.rint(values * (255 / top)).clip(0, 255).astype(np.uint8)
    if values.ndim == 3 and values.shape[2] == 4 and values[..., 3].max() > top:
        scaled[..., 3] = np.rint(values[..., 3] / 257).astype(np.uint8)  # the full range, beside colors of fewer bits
    result = Image.fromarray(scaled)
    if raw is not None and raw.startswith(PREMULTIPLIED):
        result = Image.frombytes(PREMULTIPLIED, result.size, scaled.tobytes()).convert("RGBA")
    upright = image.format == "TIFF" and raw not in (None, PLANES)
    return result if upright else _orient_like(result, image), high if dark else None


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
        brightest = int(read_values(again, data)[..., :3].max()) if dark else 0
    return image, brightest or None


def _read_significant_bits(data: bytes) -> list[int]:
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
