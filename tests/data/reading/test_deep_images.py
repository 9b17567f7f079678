"""Images of more than 8 bits: every value arrives, whatever range the file or the user states."""

import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from raypipe.data.reading.deep_images import describe_dark
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
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    stated = chunk(b"sBIT", bytes([bits] * channels)) if bits else b""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), stated, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )


def tiff(values: NDArray[np.integer], bits: int, *, planes: bool = False, packed: bool = False, **tags: int) -> bytes:
    """Return a TIFF of gray (h, w) or color (h, w, 3 or 4), of planes or packed by deflate if that is said.

    Tags are white_is_zero, largest, signed, alpha (0 no alpha, 1 premultiplied, 2 alpha) and orientation.
    """
    height, width = values.shape[:2]
    channels = values.shape[2] if values.ndim == 3 else 1
    parts = [values[..., place] for place in range(channels)] if planes else [values]
    strips = [part.astype("<u2" if bits == 16 else "u1").tobytes() for part in parts]
    strips = [zlib.compress(strip) for strip in strips] if packed else strips
    photometric = 2 if channels > 1 else 0 if tags.get("white_is_zero") else 1
    entries: dict[int, list[int]] = {
        256: [width], 257: [height], 258: [bits] * channels, 259: [8 if packed else 1], 262: [photometric],
        273: [0] * len(strips), 277: [channels], 278: [height], 279: [len(strip) for strip in strips],
        284: [2 if planes else 1],
    }  # fmt: skip
    for tag, name in {274: "orientation", 281: "largest", 338: "alpha"}.items():
        entries |= {tag: [tags[name]]} if name in tags else {}
    entries |= {339: [2] * channels} if tags.get("signed") else {}
    place = 8 + 2 + 12 * len(entries) + 4  # of values that do not fit into their entries
    start = place + 4 * sum(len(each) for each in entries.values() if len(each) > 1)
    entries[273] = [start + sum(map(len, strips[:number])) for number in range(len(strips))]
    directory, more = b"", b""
    for tag in sorted(entries):
        packed_values = struct.pack(f"<{len(entries[tag])}I", *entries[tag])
        directory += struct.pack("<HHI", tag, 4, len(entries[tag]))
        directory += packed_values if len(packed_values) == 4 else struct.pack("<I", place + len(more))
        more += packed_values if len(packed_values) > 4 else b""
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + directory + b"\0" * 4 + more + b"".join(strips)


def decoded(data: bytes, **settings: int) -> tuple[NDArray[np.uint8], list[int]]:
    dark: list[int] = []
    return decode(data, None, report_dark=dark.append, **settings), dark


STATED = {
    "gray, right-aligned": png16(GRAY, 12),
    "color, right-aligned": png16(RGB, 12),
    "gray, left-aligned": png16(GRAY * 16, 12),
    "color, left-aligned": png16(RGB * 16, 12),
    "with alpha": png16(np.dstack([RGB, np.full_like(GRAY, 65535)]), 12),
    "with alpha, gray": png16(np.dstack([GRAY, np.full_like(GRAY, 65535)]), 12),
    "TIFF": tiff(GRAY, 16, largest=4095),
    "TIFF of planes": tiff(RGB, 16, largest=4095, planes=True),
}


@pytest.mark.parametrize("form", STATED)
def test_the_range_that_a_file_states_is_used(form: str) -> None:
    pixels, dark = decoded(STATED[form])
    np.testing.assert_allclose(pixels[0, :, 0], RAMP, atol=1)
    assert dark == []


OPAQUE = np.full_like(GRAY, 4095)
UNSTATED = {
    "gray": png16(GRAY),
    "color": png16(RGB),
    "gray with alpha": png16(np.dstack([GRAY, np.full_like(GRAY, 65535)])),
    "TIFF": tiff(GRAY, 16),
    "signed TIFF": tiff(GRAY, 16, signed=True),
    "TIFF of planes": tiff(RGB, 16, planes=True),
    "TIFF of four planes": tiff(np.dstack([RGB, OPAQUE]), 16, planes=True, alpha=0),
    "TIFF with a fourth channel": tiff(np.dstack([RGB, OPAQUE]), 16, alpha=0),
    "TIFF with premultiplied alpha": tiff(np.dstack([RGB, OPAQUE * 16 + 15]), 16, alpha=1),
}


@pytest.mark.parametrize("form", UNSTATED)
def test_a_range_that_no_file_states_can_be_set_and_is_suspected(form: str) -> None:
    data = UNSTATED[form]
    pixels, dark = decoded(data, bit_depth=12)
    np.testing.assert_allclose(pixels[0, :, 0], RAMP, atol=1)
    assert dark == []
    pixels, dark = decoded(data)
    assert pixels.max() <= (32 if form == "signed TIFF" else 16)
    assert dark == [4095]


def test_sixteen_used_bits_are_no_suspicion_and_keep_their_pixels() -> None:
    for values in (GRAY * 16, RGB * 16):
        pixels, dark = decoded(png16(values))
        np.testing.assert_allclose(pixels[0, :, 0], RAMP, atol=1)
        assert dark == []


def test_eight_used_bits_are_suspected_and_can_be_set() -> None:
    data = png16(RAMP[None].repeat(4, 0).astype(np.uint16))
    assert decoded(data)[1] == [255]
    assert "= 8 for values up to 255" in describe_dark(1, 255)
    pixels, _ = decoded(data, bit_depth=8)
    np.testing.assert_array_equal(pixels[0, :, 0], RAMP)


def test_numbers_with_a_sign_use_half_of_their_range() -> None:
    pixels, dark = decoded(tiff(GRAY * 8, 16, signed=True))
    np.testing.assert_allclose(pixels[0, :, 0], RAMP, atol=1)
    assert dark == []


@pytest.mark.parametrize("packed", [False, True])
def test_planes_of_colors_keep_their_values(packed: bool) -> None:
    pixels, dark = decoded(tiff(RGB * 16, 16, planes=True, packed=packed))
    np.testing.assert_allclose(pixels[0, :, 0], RAMP, atol=1)
    np.testing.assert_allclose(pixels[0, :, 1], RAMP[::-1], atol=1)
    assert dark == []


def test_compressed_planes_whose_low_bytes_are_needed_are_refused() -> None:
    with pytest.raises(UnreadableImage, match="16-bit colors in compressed planes"):
        decode(tiff(RGB, 16, planes=True, packed=True), None, bit_depth=12)


@pytest.mark.parametrize("settings", [{}, {"bit_depth": 16}])
@pytest.mark.parametrize("planes", [False, True])
def test_a_tiff_is_turned_upright_once(planes: bool, settings: dict[str, int]) -> None:
    pixels, _ = decoded(tiff(RGB * 16, 16, planes=planes, orientation=3), **settings)
    np.testing.assert_allclose(pixels[0, :, 0], RAMP[::-1], atol=1)


def test_a_tiff_that_cannot_be_read_is_called_one() -> None:
    with pytest.raises(UnreadableImage, match=r"a TIFF of a rare kind of pixels.*convert it to 8 bits"):
        decode(tiff(np.dstack([GRAY, GRAY]), 16), None)


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
