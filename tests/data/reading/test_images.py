"""Unusual files: the pixels of each, and the reasons of those that are refused."""

import io
import re
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, PngImagePlugin

from raypipe.data.reading.images import UnreadableImage, decode
from raypipe.data.reading.png import decode_png, encode_png

PINK = (220, 140, 180)


def encoded(image: Image.Image, format: str, **options) -> bytes:  # noqa: A002 - Pillow's own word
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def tissue(size: int = 48) -> Image.Image:
    """Return smooth color with some texture, which gives JPEG something to encode."""
    y, x = np.mgrid[:size, :size]
    channels = [128 + 100 * np.sin(x / 5 + k) * np.cos(y / (6 + k)) for k in range(3)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def palette(transparent: bool) -> bytes:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, *PINK])
    return encoded(image, "PNG", **({"transparency": 1} if transparent else {}))


def rgb_with_transparent_color() -> bytes:
    return encoded(Image.new("RGB", (4, 4), PINK), "PNG", transparency=PINK)


def gray_16_bits(value: int, format: str = "PNG") -> bytes:  # noqa: A002
    return encoded(Image.fromarray(np.full((4, 4), value, np.uint16)), format)


def gray_32_bits(value: int) -> bytes:
    return encoded(Image.fromarray(np.full((4, 4), value, np.int32)), "TIFF")


# Each entry has a file of one color, the color that it must decode to, and the tolerance of a lossy format.
COLORS = {
    "rgb png": (encoded(Image.new("RGB", (4, 4), PINK), "PNG"), PINK, 0),
    "rgb jpeg": (encoded(Image.new("RGB", (16, 16), PINK), "JPEG", quality=95), PINK, 2),
    "rgb bmp": (encoded(Image.new("RGB", (4, 4), PINK), "BMP"), PINK, 0),
    "rgb tiff": (encoded(Image.new("RGB", (4, 4), PINK), "TIFF", compression="tiff_lzw"), PINK, 0),
    "rgb webp": (encoded(Image.new("RGB", (4, 4), PINK), "WEBP", lossless=True), PINK, 0),
    "single-frame gif": (encoded(Image.new("L", (4, 4), 90), "GIF"), (90, 90, 90), 0),
    "gray png": (encoded(Image.new("L", (4, 4), 90), "PNG"), (90, 90, 90), 0),
    "gray jpeg": (encoded(Image.new("L", (16, 16), 90), "JPEG", quality=95), (90, 90, 90), 1),
    "1-bit black": (encoded(Image.new("1", (4, 4), 0), "PNG"), (0, 0, 0), 0),
    "1-bit white": (encoded(Image.new("1", (4, 4), 1), "PNG"), (255, 255, 255), 0),
    "palette": (palette(transparent=False), PINK, 0),
    "transparent palette": (palette(transparent=True), (255, 255, 255), 0),
    "transparent color": (rgb_with_transparent_color(), (255, 255, 255), 0),
    "rgba opaque": (encoded(Image.new("RGBA", (4, 4), (*PINK, 255)), "PNG"), PINK, 0),
    "rgba transparent": (encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "PNG"), (255, 255, 255), 0),
    "rgba half": (encoded(Image.new("RGBA", (4, 4), (0, 100, 200, 128)), "PNG"), (127, 177, 227), 1),
    "gray with alpha": (encoded(Image.new("LA", (4, 4), (0, 128)), "PNG"), (127, 127, 127), 1),
    "cmyk jpeg": (encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95), (255, 0, 0), 3),
    "cmyk tiff": (encoded(Image.new("CMYK", (4, 4), (255, 0, 0, 0)), "TIFF"), (0, 255, 255), 0),
    "lab tiff": (encoded(Image.new("LAB", (4, 4), (255, 128, 128)), "TIFF"), (255, 255, 255), 3),
    # compressed, because before version 13 Pillow cannot read its own uncompressed files of these modes
    "ycbcr tiff": (encoded(Image.new("YCbCr", (4, 4), (90, 128, 128)), "TIFF", compression="tiff_lzw"), (90,) * 3, 1),
    "16-bit gray png": (gray_16_bits(200 * 257), (200, 200, 200), 0),
    "16-bit gray tiff": (gray_16_bits(200 * 257, "TIFF"), (200, 200, 200), 0),
    "16-bit dark": (gray_16_bits(300), (1, 1, 1), 0),
    "16-bit white": (gray_16_bits(65535), (255, 255, 255), 0),
    "32-bit integers in 16 bits": (gray_32_bits(200 * 257), (200, 200, 200), 0),
}


@pytest.mark.parametrize("name", COLORS)
def test_every_kind_of_image_gives_its_color(name):
    data, color, tolerance = COLORS[name]
    pixels = decode(data, 5)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (5, 5, 3)
    assert np.abs(pixels.astype(int) - color).max() <= tolerance


def header_only_png(width: int, height: int) -> bytes:
    """Return a PNG that declares a size and holds almost no data, as a decompression bomb does."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def frames(format: str, count: int = 2) -> bytes:  # noqa: A002
    images = [Image.new("RGB", (8, 8), (40 * k, 0, 0)) for k in range(count)]
    return encoded(images[0], format, save_all=True, append_images=images[1:])


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


REFUSED = {
    "empty": (b"", r"^empty file$"),
    "text": (b"filename,label,group\n", r"^not an image \(supported: PNG, JPEG"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n", r"^not an image"),
    "truncated jpeg": (half(encoded(tissue(200), "JPEG")), r"truncated"),
    "truncated png": (half(encoded(tissue(), "PNG")), r"truncated"),
    "truncated bmp": (half(encoded(tissue(), "BMP")), r"truncated"),
    "truncated webp": (half(encoded(tissue(), "WEBP")), r"\S"),
    "truncated gif": (half(encoded(tissue(), "GIF")), r"\S"),
    "truncated tiff": (half(encoded(tissue(), "TIFF", compression="tiff_lzw")), r"\S"),
    "jpeg 2000": (encoded(tissue(), "JPEG2000"), r"^not an image"),
    "large": (header_only_png(10_000, 10_001), r"^too large: 10000x10001, more than 100000000 pixels$"),
    "larger than Pillow opens": (header_only_png(60_000, 60_000), r"^too large: .*3600000000 pixels"),
    "animated gif": (frames("GIF"), r"^2 frames or pages: expected a single image$"),
    "animated png": (frames("PNG", 3), r"^3 frames or pages"),
    "animated webp": (frames("WEBP"), r"^2 frames or pages"),
    "multi-page tiff": (frames("TIFF"), r"^2 frames or pages"),
    "multi-picture jpeg": (frames("MPO"), r"^2 frames or pages"),
    "float tiff": (encoded(Image.new("F", (4, 4), 0.5), "TIFF"), r"^floating-point pixels, whose range is unknown"),
    "large integers": (gray_32_bits(70_000), r"^integer pixels from 70000 to 70000: expected 0\.\.65535$"),
    "negative integers": (gray_32_bits(-1), r"^integer pixels from -1 to -1"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore:Corrupt EXIF data")
@pytest.mark.parametrize("name", REFUSED)
def test_every_file_that_is_no_usable_image_is_refused_with_a_reason(name):
    data, reason = REFUSED[name]
    with pytest.raises(UnreadableImage, match=reason) as caught:
        decode(data, 8)
    assert caught.value.reason == str(caught.value)


def test_too_large_is_a_reason_also_where_warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnreadableImage, match="too large"):
            decode(header_only_png(10_000, 10_001), 8)


def test_the_limit_on_pixels_is_the_callers():
    data = encoded(tissue(48), "PNG")
    assert decode(data, 8, max_pixels=48 * 48).shape == (8, 8, 3)
    with pytest.raises(UnreadableImage, match="too large: 48x48, more than 2303 pixels"):
        decode(data, 8, max_pixels=48 * 48 - 1)


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_that_no_tile_has_is_the_callers_mistake(size):
    with pytest.raises(ValueError, match=f"size = {size}: expected 1 or more"):
        decode(encoded(tissue(), "PNG"), size)


ORIENTED = [
    (1, lambda image: image),
    (2, np.fliplr),
    (3, lambda image: np.rot90(image, 2)),
    (4, np.flipud),
    (5, lambda image: image.transpose(1, 0, 2)),
    (6, lambda image: np.rot90(image, -1)),
    (7, lambda image: np.rot90(image, 2).transpose(1, 0, 2)),
    (8, np.rot90),
]


@pytest.mark.parametrize(("orientation", "turn"), ORIENTED)
def test_exif_orientation_is_applied(orientation, turn):
    stored = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(stored), "PNG", exif=exif)
    np.testing.assert_array_equal(decode(data, 4), turn(stored))


def test_resizing_averages_whatever_the_shape():
    columns = np.zeros((6, 64, 3), np.uint8)
    columns[:, ::2] = 255
    pixels = decode(encode_png(columns), 8)
    assert pixels.shape == (8, 8, 3)
    # Without antialiasing the stripes would become black or white.
    assert np.abs(pixels.astype(int) - 127).max() < 20


def test_a_tile_of_the_right_size_is_not_touched():
    pixels = np.asarray(tissue(32))
    decoded = decode(encode_png(pixels), 32)
    np.testing.assert_array_equal(decoded, pixels)
    decoded[0, 0] = 0  # the caller has its own, writable copy


def test_reading_changes_nothing_for_others():
    def limits() -> tuple[object, ...]:
        return Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK

    before = limits()
    for data, _ in REFUSED.values():
        refused_or_decoded(data)
    assert limits() == before


def test_png_keeps_every_pixel():
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode_png(encode_png(pixels)), pixels)


@pytest.mark.parametrize("size", [8, 40, 48, 96])
def test_scaled_decoding_gives_nearly_the_same_pixels(size):
    data = encoded(tissue(192), "JPEG", quality=95)
    whole, scaled = decode(data, size).astype(int), decode(data, size, scaled=True).astype(int)
    assert np.abs(whole - scaled).mean() < 2
    assert np.abs(whole - scaled).max() < 20


@pytest.mark.parametrize("size", [140, 150, 152])
def test_what_a_jpeg_gives_only_whole_is_resized_as_by_pillow(size):
    data = encoded(tissue(192), "JPEG", quality=95)
    np.testing.assert_allclose(decode(data, size, scaled=True), decode(data, size).astype(int), rtol=0, atol=1)


@pytest.mark.parametrize(("orientation", "turn"), ORIENTED)
def test_scaled_decoding_turns_too(orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(tissue(192), "JPEG", quality=95, exif=exif)
    upright = turn(decode(encoded(tissue(192), "JPEG", quality=95), 24, scaled=True))
    assert np.abs(decode(data, 24, scaled=True).astype(int) - upright).max() < 8


@pytest.mark.parametrize("name", ["rgb png", "gray jpeg", "cmyk jpeg", "rgb jpeg"])
def test_scaled_decoding_changes_nothing_where_there_is_nothing_to_scale(name):
    data, _, _ = COLORS[name]
    np.testing.assert_array_equal(decode(data, 32, scaled=True), decode(data, 32))


def refused_or_decoded(data: bytes) -> np.ndarray | None:
    """Decode in both ways; the only error allowed is UnreadableImage, with a reason, in both ways alike."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            decode(data, 8, scaled=True)
        except UnreadableImage as error:
            with pytest.raises(UnreadableImage, match=re.escape(error.reason)):
                decode(data, 8)
        try:
            return decode(data, 8)
        except UnreadableImage as error:
            assert error.reason  # noqa: PT017 - most inputs are refused, some decode
            return None


SAMPLES = {
    "JPEG": encoded(tissue(), "JPEG"),
    "progressive JPEG": encoded(tissue(), "JPEG", progressive=True),
    "PNG": encoded(tissue(), "PNG"),
    "GIF": encoded(tissue(), "GIF"),
    "BMP": encoded(tissue(), "BMP"),
    "TIFF": encoded(tissue(), "TIFF"),
    "compressed TIFF": encoded(tissue(), "TIFF", compression="tiff_lzw"),
    "WEBP": encoded(tissue(), "WEBP"),
    "PPM": encoded(tissue(), "PPM"),
}


@settings(deadline=None)
@given(st.binary(max_size=300), st.sampled_from([data[:16] for data in SAMPLES.values()]))
def test_random_bytes_never_raise_anything_else(data, start):
    refused_or_decoded(data)
    refused_or_decoded(start + data)


@settings(deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_a_truncated_image_is_refused_or_whole(name, data):
    sample = SAMPLES[name]
    pixels = refused_or_decoded(sample[: data.draw(st.integers(0, len(sample) - 1))])
    if pixels is not None:
        # Only data after the pixels, such as an end marker, was lost.
        np.testing.assert_array_equal(pixels, decode(sample, 8))


@settings(deadline=None)
@given(st.sampled_from(sorted(SAMPLES)), st.data())
def test_flipped_bits_never_raise_anything_else(name, data):
    sample = bytearray(SAMPLES[name])
    for place in data.draw(st.lists(st.integers(0, 8 * len(sample) - 1), min_size=1, max_size=20)):
        sample[place // 8] ^= 1 << place % 8
    refused_or_decoded(bytes(sample))
