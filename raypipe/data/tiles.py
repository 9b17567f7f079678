"""Tiles: from files to the table that all later stages read, and back to pixels."""

import hashlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from raypipe.data.reading.images import UnreadableImage, decode
from raypipe.data.reading.png import decode_png, encode_png
from raypipe.data.source import Source, TileRef
from raypipe.storage.schemas import REJECTED, TILES

_BRIGHTEST, _DARK = b"raypipe.brightest", b"raypipe.dark"
"""Names in the metadata of a table of tiles."""


class TileItem(NamedTuple):
    """A file and its side of the split. The side is None for a file that the listing already rejects."""

    ref: TileRef
    split: str | None


def make_tiles(
    source: Source,
    items: Iterable[TileItem],
    size: int | None,
    *,
    scaled: bool = False,
    bit_depth: int | None = None,
) -> tuple[pa.Table, pa.Table]:
    """Read, decode and resize files.

    Parameters
    ----------
    source
        The data set that the files belong to.
    items
        Files of `source`, each with its split.
    size
        Height and width of the stored tiles in pixels. None keeps the size of the images.
    scaled, bit_depth
        Arguments of `raypipe.data.reading.images.decode`.

    Returns
    -------
    tiles, rejected
        Tables with the schemas `TILES` and `REJECTED`. Every item is in exactly one of them. The metadata of the first
        one have the brightest value of dark 16-bit images, see `read_brightest`.
    """
    label_of = {name: label for label, name in enumerate(source.labels)}
    tiles, rejected = [], []
    dark: list[int] = []
    items = list(items)
    images: dict[str, bytes | str] = {}
    # Sorted by path, so that consecutive reads of a file with many pictures share its cost.
    for ref, _ in sorted(items, key=lambda item: item.ref.path):
        try:
            images[ref.path] = _read_image(
                source, ref, partial(decode, size=size, scaled=scaled, bit_depth=bit_depth, report_dark=dark.append)
            )
        except (UnreadableImage, OSError) as error:
            images[ref.path] = str(error) or type(error).__name__
    for ref, split in items:
        image = images[ref.path]
        if isinstance(image, str):
            rejected.append({"source_path": ref.path, "label_name": ref.label_name, "reason": image})
            continue
        name = sample_id(ref.path)
        tiles.append(
            {
                "sample_id": name,
                "image": {"bytes": image, "path": f"{name}.png"},
                "label": label_of[str(ref.label_name)],
                "label_name": ref.label_name,
                "group_id": ref.group,
                "split": split,
                "source_path": ref.path,
            }
        )
    table = pa.Table.from_pylist(tiles, schema=TILES)
    if dark:
        table = table.replace_schema_metadata({_BRIGHTEST: str(max(dark)), _DARK: str(len(dark))})
    return table, pa.Table.from_pylist(rejected, schema=REJECTED)


def read_brightest(tables: Iterable[pa.Table]) -> tuple[int, int]:
    """Return the number of dark 16-bit images of tables from `make_tiles`, and their brightest value, both 0 if none.

    Such an image uses less than a quarter of the range of 16 bits, and its file states no other range.
    """
    found = [table.schema.metadata for table in tables if _BRIGHTEST in (table.schema.metadata or {})]
    count = sum(int(metadata[_DARK]) for metadata in found)
    return count, max((int(metadata[_BRIGHTEST]) for metadata in found), default=0)


def sample_id(path: str) -> str:
    """Return the id of a tile: 16 hexadecimal digits of the hash of its path in the source.

    These are enough digits to keep the ids of a data set distinct.
    """
    return hashlib.sha256(path.encode()).hexdigest()[:16]


def decode_images(table: pa.Table) -> npt.NDArray[np.uint8]:
    """Decode the column `image` of a table of tiles or adversarial tiles.

    Returns
    -------
    ndarray of uint8, shape (n, height, width, 3)
        Shape (0, 0, 0, 3) for a table without rows.

    Raises
    ------
    ValueError
        If the images differ in size.
    """
    encoded = pc.struct_field(table["image"], "bytes").to_pylist()
    if not encoded:
        return np.zeros((0, 0, 0, 3), np.uint8)
    return np.stack([decode_png(data) for data in encoded])


def _read_image(source: Source, ref: TileRef, read: Callable[[bytes], npt.NDArray[np.uint8]]) -> bytes:
    if ref.problem is not None:
        raise UnreadableImage(ref.problem)
    return encode_png(read(source.read(ref.path)))
