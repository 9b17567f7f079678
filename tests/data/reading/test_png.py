"""Stored tiles: they are lossless, other programs can read them, and damaged ones are detected."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from raypipe.data.reading.png import decode_png, encode_png

IMAGES = arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3)))


def by_pillow(pixels: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


@settings(deadline=None)
@given(IMAGES)
def test_what_is_stored_is_read_back_here_and_elsewhere(pixels: np.ndarray) -> None:
    data = encode_png(pixels)
    np.testing.assert_array_equal(decode_png(data), pixels)
    with Image.open(io.BytesIO(data)) as image:
        image.verify()
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(data))), pixels)


@settings(deadline=None)
@given(IMAGES, st.sampled_from([zlib.Z_RLE, zlib.Z_DEFAULT_STRATEGY]), st.integers(0, 9))
def test_what_others_wrote_is_read(pixels: np.ndarray, strategy: int, level: int) -> None:
    np.testing.assert_array_equal(decode_png(by_pillow(pixels, compress_type=strategy, compress_level=level)), pixels)


@settings(deadline=None)
@given(IMAGES, st.data())
def test_damage_is_noticed(pixels: np.ndarray, data: st.DataObject) -> None:
    stored = bytearray(encode_png(pixels))
    place = data.draw(st.integers(0, len(stored) - 1))
    stored[place] ^= data.draw(st.integers(1, 255))
    for broken in (bytes(stored), bytes(stored[:place])):
        try:
            read = decode_png(broken)
        except (OSError, ValueError, SyntaxError):
            continue
        np.testing.assert_array_equal(read, pixels)  # no pixel depends on the damaged byte


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_only_8_bit_rgb_is_stored(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8 pixels of shape"):
        encode_png(pixels)


def test_only_8_bit_rgb_is_read_back() -> None:
    with pytest.raises(ValueError, match="expected an 8-bit RGB image, got mode L"):
        decode_png(by_pillow(np.zeros((4, 4), np.uint8)))
