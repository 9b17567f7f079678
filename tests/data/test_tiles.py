"""Files to tables, and tables to files."""

import hashlib
import io
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from raypipe.data.reading.png import encode_png
from raypipe.data.source import TileRef
from raypipe.data.sources import open_source
from raypipe.data.sources.synthetic import Synthetic
from raypipe.data.tiles import TileItem, decode_images, make_tiles, sample_id
from raypipe.storage.schemas import REJECTED, TILES

RED = np.full((8, 8, 3), (255, 0, 0), np.uint8)


@dataclass(frozen=True)
class MemorySource:
    files: dict[str, bytes]
    labels: tuple[str, ...] = ("a", "b")
    synthetic: bool = False
    restriction: str | None = None
    read_paths: list[str] = field(default_factory=list)

    def list(self):
        return [TileRef(path, path[0], None) for path in sorted(self.files)]

    def read(self, path):
        self.read_paths.append(path)
        if path not in self.files:
            raise FileNotFoundError(f"{path}: gone")
        return self.files[path]

    def fingerprint(self, refs, cache=None):
        return ""


def test_every_item_becomes_a_tile_or_a_rejected_file():
    source = MemorySource({"b/red.png": encode_png(RED), "a/empty.png": b"", "a/text.png": b"text"})
    items = [
        TileItem(TileRef("b/red.png", "b", "b:1"), "train"),
        TileItem(TileRef("a/empty.png", "a", None), "train"),
        TileItem(TileRef("a/text.png", "a", None), "test"),
        TileItem(TileRef("a/gone.png", "a", None), "test"),
        TileItem(TileRef("readme.txt", None, None, "not in a class folder"), None),
    ]
    tiles, rejected = make_tiles(source, items, 16)

    assert tiles.schema == TILES
    assert rejected.schema == REJECTED
    (row,) = tiles.to_pylist()
    image = row.pop("image")
    name = hashlib.sha256(b"b/red.png").hexdigest()[:16]
    assert row == {
        "sample_id": name,
        "label": 1,
        "label_name": "b",
        "group_id": "b:1",
        "split": "train",
        "source_path": "b/red.png",
    }
    assert image["path"] == f"{name}.png"
    with Image.open(io.BytesIO(image["bytes"])) as stored:
        assert (stored.format, stored.mode, stored.size) == ("PNG", "RGB", (16, 16))
    reasons = {row["source_path"]: (row["label_name"], row["reason"]) for row in rejected.to_pylist()}
    assert reasons.pop("a/text.png")[1].startswith("not an image")
    assert reasons == {
        "a/empty.png": ("a", "empty file"),
        "a/gone.png": ("a", "a/gone.png: gone"),
        "readme.txt": (None, "not in a class folder"),
    }
    assert "readme.txt" not in source.read_paths


def test_no_items_give_empty_tables():
    tiles, rejected = make_tiles(MemorySource({}), [], 16)
    assert (tiles.schema, tiles.num_rows) == (TILES, 0)
    assert (rejected.schema, rejected.num_rows) == (REJECTED, 0)
    assert decode_images(tiles).shape == (0, 0, 0, 3)


def test_images_come_back_in_order_also_from_chunks():
    source = open_source(Synthetic(sources_per_class=2, siblings=1, size=32), seed=5)
    items = [TileItem(ref, "train") for ref in source.list()]
    tables = [make_tiles(source, part, 32)[0] for part in (items[:4], items[4:])]
    images = decode_images(pa.concat_tables(tables))
    assert images.dtype == np.uint8
    assert images.shape == (10, 32, 32, 3)
    np.testing.assert_array_equal(images[:4], decode_images(tables[0]))
    np.testing.assert_array_equal(images[4:], decode_images(tables[1]))


def test_images_of_different_sizes_are_refused():
    source = MemorySource({"a/red.png": encode_png(RED)})
    items = [TileItem(source.list()[0], "train")]
    tables = [make_tiles(source, items, size)[0] for size in (8, 16)]
    with pytest.raises(ValueError, match="same shape"):
        decode_images(pa.concat_tables(tables))


def test_sample_ids_are_short_and_stable():
    assert sample_id("colon_aca/0003/02.png") == hashlib.sha256(b"colon_aca/0003/02.png").hexdigest()[:16]
