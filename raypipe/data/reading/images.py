"""Decoding of image files of any supported format into pixels."""

import io
import math
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from raypipe.base.file_kinds import BEGINNING, describe_other_file
from raypipe.data.reading.deep_images import convert_to_eight_bits, is_deep
from raypipe.data.reading.deep_values import RangeError

# Formats of tiles, not all that Pillow opens: its EPS reader would start Ghostscript. Its JPEG 2000 reader accepts a
# file that was cut between two tile-parts as complete.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")

DICOM_PLACE, DICOM_MARK = 128, b"DICM"
TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

UPRIGHT = 1
"""EXIF orientation of an image that is not rotated."""

SPARE = 1.25
"""Least ratio of a scaled JPEG's size to the result's. It leaves resizing enough pixels to blur as it should."""


class UnreadableImage(Exception):  # noqa: N818 - the name states the problem with the file
    """Error for a file that does not give an image. Its text is the reason."""

    @property
    def reason(self) -> str:
        """Reason, in words for the table of rejected files."""
        return str(self)


def decode(
    data: bytes,
    size: int | None,
    max_pixels: int = 100_000_000,
    *,
    scaled: bool = False,
    bit_depth: int | None = None,
    report_dark: Callable[[int], None] = lambda _: None,
) -> npt.NDArray[np.uint8]:
    """Decode an image of any supported format to 8-bit RGB, square unless it keeps its own size.

    Orientation from EXIF is applied. Transparent pixels are laid over white, as on a slide. 16-bit values are scaled,
    not clipped, from the range that `bit_depth` or the file states, and from 0 to 65535 otherwise. The tile is resized
    to `size` x `size` with antialiased bilinear interpolation whatever its shape, as in Nisa et al. (IPTEK 2024).

    Parameters
    ----------
    data
        Bytes of the file.
    size
        Height and width of the result in pixels, 1 or more. None keeps the size of the image.
    max_pixels
        Largest number of pixels. Larger images are rejected from their header alone. Pillow's own limit (about 179
        million) holds as well.
    scaled
        True to decode a JPEG at a reduced scale: the fewest eighths of its size, 1 to 8, into which `size` still fits.
        This halves the cost. PyTorch then resizes it, at a third of Pillow's cost and with values that differ by at
        most 1 of 255. On LC25000's tiles at 224 of 768 pixels, values differ on average by 0.9 of 255 from a full
        decode with Pillow's resize. 99 of 100 values differ by at most 5.
    bit_depth
        Number of bits that 16-bit images use, such as 12 if their values are 0 to 4095. None takes the number that each
        file states.
    report_dark
        Called with the brightest value of a 16-bit image that uses less than a quarter of the range and states none.

    Returns
    -------
    ndarray of uint8, shape (size, size, 3), or (height, width, 3) of the image itself

    Raises
    ------
    UnreadableImage
        If anything is wrong with the data. No other error is raised for it.
    ValueError
        If `size` is less than 1.
    """
    if size is not None and size < 1:
        raise ValueError(f"size = {size}: expected 1 or more pixels")
    if not data:
        raise UnreadableImage("empty file")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _require_one_image_of_known_range(image, max_pixels)
            pixels = _decode_scaled(data, image, size) if scaled and size else None
            if pixels is None:
                upright = _to_rgb(ImageOps.exif_transpose(_to_eight_bits(image, data, bit_depth, report_dark)))
                pixels = np.array(upright.resize((size, size), Image.Resampling.BILINEAR) if size else upright)
            return pixels
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"not an image{_name_kind(data)} (supported: {', '.join(FORMATS)})") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(f"too large: {error}") from error
    except Exception as error:
        # Damaged files make Pillow's readers raise nearly anything: struct.error, SyntaxError, KeyError, MemoryError.
        raise UnreadableImage(f"damaged image ({type(error).__name__}: {error})") from error


def _name_kind(data: bytes) -> str:
    """Return what a file is that is no image, with the remedy, for a message; an empty text if it is not known."""
    if data[DICOM_PLACE:].startswith(DICOM_MARK):
        return ", but DICOM: convert it to PNG or TIFF"
    if data.startswith(TIFF_MARKS):
        return ", but a TIFF of a rare kind of pixels, which Pillow does not read: convert it to 8 bits, gray or RGB"
    other = describe_other_file(data[:BEGINNING])
    return f": {other}" if other else ""


def find_image(candidates: Iterable[str], read: Callable[[str], bytes]) -> str | None:
    """Return None if one of some files gives an image, and otherwise the reason of the first that does not.

    Files are read one by one until one gives an image.

    Parameters
    ----------
    candidates
        Paths of the files, at least one.
    read
        Function that returns the bytes of a path, or raises OSError.
    """
    first = ""
    for path in candidates:
        try:
            decode(read(path), 1)
        except (UnreadableImage, OSError) as error:
            first = first or (str(error) if path in str(error) else f"{path}: {error}")
        else:
            return None
    return first


def _require_one_image_of_known_range(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise UnreadableImage(f"too large: {image.width}x{image.height}, more than {max_pixels} pixels")
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise UnreadableImage(f"{frames} frames or pages: expected a single image")
    if image.mode == "F":
        raise UnreadableImage("floating-point pixels, whose range is unknown: expected 8 or 16 bits")


def _decode_scaled(data: bytes, image: Image.Image, size: int) -> npt.NDArray[np.uint8] | None:
    """Return a color JPEG resized to `size` x `size`, or None if Pillow must decide, as for damaged files."""
    least = math.ceil(SPARE * size)
    if image.format != "JPEG" or image.mode != "RGB" or min(image.size) <= least:
        return None
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=least, min_width=least, min_factor=1, strict=True)
    except ValueError:
        return None
    resized = _resize(pixels, size)
    exif = image.getexif()
    if exif.get(ExifTags.Base.Orientation, UPRIGHT) == UPRIGHT:
        return resized
    turned = Image.fromarray(resized)
    turned.info["exif"] = exif.tobytes()
    return np.array(ImageOps.exif_transpose(turned))


def _resize(pixels: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Resize (height, width, 3) pixels with antialiased bilinear interpolation, like Pillow's."""
    import torch  # noqa: PLC0415  seconds that commands which read no image need not spend

    channels_first = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    small = torch.nn.functional.interpolate(channels_first, (size, size), mode="bilinear", antialias=True)
    resized: npt.NDArray[np.uint8] = small.permute(0, 2, 3, 1)[0].contiguous().numpy()
    return resized


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _to_eight_bits(
    image: Image.Image, data: bytes, bit_depth: int | None, report_dark: Callable[[int], None]
) -> Image.Image:
    """Return an image as it is, or an image of more than 8 bits with 8."""
    if not is_deep(image):
        return image
    try:
        converted, brightest = convert_to_eight_bits(image, data, bit_depth)
    except RangeError as error:
        raise UnreadableImage(str(error)) from error
    if brightest is not None:
        report_dark(brightest)
    return converted
