"""From the bytes of a file to pixels, and from pixels to the PNG that is stored."""

import io
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

# Formats that tiles come in, not all that Pillow opens: its EPS reader would start Ghostscript, and its JPEG 2000
# reader takes a file that was cut between two tile-parts for a whole one.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM")


class UnreadableImage(Exception):  # noqa: N818 - the name says what is the matter with the file
    """A file that does not give an image; the text is the reason."""

    @property
    def reason(self) -> str:
        """Why, in words for the table of rejected files."""
        return str(self)


def decode(data: bytes, size: int, max_pixels: int = 100_000_000, *, draft: bool = False) -> npt.NDArray[np.uint8]:
    """Decode an image of any common kind to square 8-bit RGB.

    Orientation from EXIF is applied, transparency is laid over white as on a slide, 16-bit greyscale is scaled
    (not clipped), and the tile is resized to `size` x `size` with antialiased bilinear interpolation whatever its
    shape, as in Nisa et al. (IPTEK 2024).

    Parameters
    ----------
    data
        The file's bytes.
    size
        Height and width of the result in pixels, 1 or more.
    max_pixels
        Larger images are refused from their header alone. Pillow's own limit (about 179 million) holds as well.
    draft
        Let a JPEG's transform give it at a half, a quarter or an eighth of its size where `size` still fits into that:
        a fraction of the cost, for pixels that differ a little.

    Returns
    -------
    ndarray of uint8, shape (size, size, 3)

    Raises
    ------
    UnreadableImage
        Whatever is wrong with the data; nothing else is raised for it.
    ValueError
        `size` is less than 1.
    """
    if size < 1:
        raise ValueError(f"size = {size}: expected 1 or more pixels")
    if not data:
        raise UnreadableImage("empty file")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _require_one_image_of_known_range(image, max_pixels)
            if draft:
                image.draft(None, (size, size))
            upright = ImageOps.exif_transpose(image)
            return np.array(_to_rgb(upright).resize((size, size), Image.Resampling.BILINEAR))
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"not an image (supported: {', '.join(FORMATS)})") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(f"too large: {error}") from error
    except Exception as error:
        # Damaged files make Pillow's readers raise nearly anything: struct.error, SyntaxError, KeyError, MemoryError.
        raise UnreadableImage(f"damaged image ({type(error).__name__}: {error})") from error


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode 8-bit RGB, shape (height, width, 3), losslessly; ValueError for any other array."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"expected uint8 pixels of shape (height, width, 3), got {pixels.dtype} {pixels.shape}")
    buffer = io.BytesIO()
    # On LC25000 tiles at 224 pixels run-length coding gives the size of Pillow's default in a third of its time.
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def decode_png(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode what `encode_png` gave to shape (height, width, 3); OSError or ValueError for anything else."""
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        if image.mode != "RGB":
            raise ValueError(f"expected an 8-bit RGB image, got mode {image.mode}")
        return np.array(image)


def _require_one_image_of_known_range(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise UnreadableImage(f"too large: {image.width}x{image.height}, more than {max_pixels} pixels")
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise UnreadableImage(f"{frames} frames or pages: expected a single image")
    if image.mode == "F":
        raise UnreadableImage("floating-point pixels, whose range is unknown: expected 8 or 16 bits")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bits(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    # Pillow's own conversion clips everything above 255 to white.
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise UnreadableImage(f"integer pixels from {values.min()} to {values.max()}: expected 0..65535")
    return Image.fromarray(np.rint(values / 257).astype(np.uint8)).convert("RGB")
