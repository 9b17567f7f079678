"""Images of more than 8 bits: every value arrives, whatever range the file or the user states."""

import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from raypipe.data.reading.images import UnreadableImage, decode
from raypipe.data.source import TileRef
from raypipe.data.tiles import TileItem, make_tiles, read_brightest
from tests.data.test_tiles import MemorySource

GRAY = np.tile(np.linspace(0, 4095, 256).astype(np.uint16), (256, 1))
"""A ramp of 12 bits, 0 to 4095, which 8 bits show as 0 to 255."""
RGB = np.stack([GRAY, GRAY[:, ::-1], GRAY], axis=2)
RAMP = np.arange(256)


def png16(values: NDArray[np.uint16], bits: int | None = None) -> bytes:
    """Return a PNG of 16 bits, with the chunk sBIT if `bits` are given."""
    height, width = values.shape[:2]
    channels = values.shape[2] if values.ndim == 3 else 1
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    stated = chunk(b"sBIT", bytes([bits] * channels)) if bits else b""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), stated, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )


def tiff(values: NDArray[np.integer], bits: int, *, white_is_zero: bool = False, largest: int | None = None) -> bytes:
    """Return a gray TIFF."""
    height, width = values.shape
    data = values.astype("<u2" if bits == 16 else "u1").tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 0 if white_is_zero else 1, 273: 0, 277: 1, 278: height,
            279: len(data)} | ({281: largest} if largest else {})  # fmt: skip
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 3 if tag != 273 else 4, 1, tags[tag]) for tag in sorted(tags))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0" + data


def decoded(data: bytes, **settings: int) -> tuple[NDArray[np.uint8], list[int]]:
    dark: list[int] = []
    return decode(data, None, report_dark=dark.append, **settings), dark


STATED = {
    "gray, right-aligned": png16(GRAY, 12),
    "color, right-aligned": png16(RGB, 12),
    "gray, left-aligned": png16(GRAY * 16, 12),
    "color, left-aligned": png16(RGB * 16, 12),
    "with alpha": png16(np.dstack([RGB, np.full_like(GRAY, 65535)]), 12),
    "TIFF": tiff(GRAY, 16, largest=4095),
}


@pytest.mark.parametrize("form", STATED)
def test_the_range_that_a_file_states_is_used(form: str) -> None:
    pixels, dark = decoded(STATED[form])
    np.testing.assert_allclose(pixels[0, :, 0], RAMP, atol=1)
    assert dark == []


@pytest.mark.parametrize("data", [png16(GRAY), png16(RGB), tiff(GRAY, 16)])
def test_a_range_that_no_file_states_can_be_set_and_is_suspected(data: bytes) -> None:
    pixels, dark = decoded(data, bit_depth=12)
    np.testing.assert_allclose(pixels[0, :, 0], RAMP, atol=1)
    assert dark == []
    pixels, dark = decoded(data)
    assert pixels.max() <= 16
    assert dark == [4095]


def test_sixteen_used_bits_are_no_suspicion_and_keep_their_pixels() -> None:
    for values in (GRAY * 16, RGB * 16):
        pixels, dark = decoded(png16(values))
        np.testing.assert_allclose(pixels[0, :, 0], RAMP, atol=1)
        assert dark == []


def test_values_beyond_the_range_are_refused() -> None:
    with pytest.raises(UnreadableImage, match=r"pixels from 0 to 65520: expected 0\.\.4095 \(bit_depth = 12\)"):
        decode(png16(GRAY * 16), None, bit_depth=12)


@pytest.mark.parametrize("bits", [8, 16])
def test_white_is_zero_at_every_depth(bits: int) -> None:
    ramp = np.tile(RAMP, (4, 1)) * (257 if bits == 16 else 1)
    pixels, _ = decoded(tiff(ramp, bits, white_is_zero=True))
    np.testing.assert_array_equal(pixels[0, :, 0], RAMP[::-1])


def test_tiles_tell_the_brightest_value_of_dark_files() -> None:
    source = MemorySource({"a.png": png16(GRAY), "b.png": png16(GRAY // 2), "c.png": png16(GRAY * 16)})
    items = [TileItem(TileRef(path, source.labels[0], None), "train") for path in ("a.png", "b.png", "c.png")]
    table, _ = make_tiles(source, items, 16)
    assert read_brightest([table]) == (2, 4095)
    assert read_brightest([make_tiles(source, items, 16, bit_depth=16)[0]]) == (0, 0)
