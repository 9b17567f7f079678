"""Data sets in Parquet: rows, columns and metadata."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from raypipe.data.sources import open_source
from raypipe.data.sources.lc25000 import LC25000
from raypipe.data.sources.parquet import Parquet
from raypipe.data.tiles import TileItem, make_tiles
from tests.data.layouts import (
    image,
    lc25000_hub,
    list_tiles,
    parquet,
)


def test_rows_of_parquet_are_read_by_row_group_and_the_last_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet(tmp_path / "a.parquet", [image(value) for value in range(10)], {"label": ["x", "y"] * 5}, {}, 4)
    source = pickle.loads(pickle.dumps(open_source(Parquet(path=str(tmp_path)), seed=0)))
    asked: list[int] = []
    whole = pq.ParquetFile.read_row_group

    def read(file: pq.ParquetFile, number: int, columns: list[str]) -> pa.Table:
        asked.append(number)
        return whole(file, number, columns=columns)

    refs = source.list()
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", read)
    shuffled = [refs[place] for place in np.random.default_rng(0).permutation(len(refs))]
    tiles, rejected = make_tiles(source, [TileItem(ref, "train") for ref in shuffled], 32)
    assert (tiles.num_rows, rejected.num_rows) == (10, 0)
    assert tiles["source_path"].to_pylist() == [ref.path for ref in shuffled], (
        "in the order in which they were asked for"
    )
    assert asked == [0, 1, 2]


def test_fingerprints_of_rows_follow_the_file_and_are_cached(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", [image(1), image(2)], {"label": ["x", "y"]}, {})
    source = open_source(Parquet(path=str(tmp_path)), seed=0)
    cache: dict[str, str] = {}
    before = source.fingerprint(source.list(), cache)
    assert len(cache) == 1
    parquet(tmp_path / "a.parquet", [image(1), image(3)], {"label": ["x", "y"]}, {})
    changed = open_source(Parquet(path=str(tmp_path)), seed=0)
    assert changed.fingerprint(changed.list(), cache) != before


def test_a_row_without_an_image_is_set_aside(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", [image(1), None, {"bytes": None, "path": "x.png"}], {"label": ["x", "y", "y"]}, {})
    source = open_source(Parquet(path=str(tmp_path)), seed=0)
    tiles, rejected = make_tiles(source, [TileItem(ref, "train") for ref in source.list()], 32)
    assert tiles.num_rows == 1
    assert all("the row has no image" in reason for reason in rejected["reason"].to_pylist())


@pytest.mark.parametrize(
    ("columns", "features", "more", "message"),
    [
        ({"kind": ["a", "b"]}, {}, {}, "no column label; there are image, kind"),
        ({"label": [0.5, 1.5]}, {}, {}, "column label holds double; expected whole numbers or names"),
        ({"label": ["a", "a"]}, {}, {}, r"column label has 1 classes \(a\)"),
        ({"label": [0, 1]}, {"label": ["a", "a"]}, {}, "two classes of one name"),
        ({"label": ["a", "b"]}, {}, {"image": "label"}, "column label holds string; expected binary"),
        ({"label": ["a", "b"]}, {}, {"group": "patient"}, "no column patient"),
        ({"label": ["a", "b"]}, {}, {"malignant": ["c"]}, "malignant: no class c; there are a, b"),
    ],
)
def test_columns_that_are_no_data_set_are_refused(
    columns: dict[str, Any], features: dict[str, list[str]], more: dict[str, Any], message: str, tmp_path: Path
) -> None:
    parquet(tmp_path / "a.parquet", [image(1), image(2)], columns, features)
    with pytest.raises(ValueError, match=message):
        list_tiles(Parquet(path=str(tmp_path), **more))


def test_files_that_differ_in_their_classes_are_refused(tmp_path: Path) -> None:
    for name, classes in (("train-0", ["a", "b"]), ("test-0", ["b", "a"])):
        parquet(tmp_path / f"{name}.parquet", [image(1), image(2)], {"label": [0, 1]}, {"label": classes})
    with pytest.raises(ValueError, match=r"test-0.parquet and train-0.parquet differ in the classes of label"):
        list_tiles(Parquet(path=str(tmp_path)))
    with pytest.raises(ValidationError, match="group and groups: expected one of them"):
        Parquet(path="x", group="a", groups="b.csv")


def test_lc25000_as_parquet_refuses_other_classes(tmp_path: Path) -> None:
    lc25000_hub(tmp_path)
    parquet(tmp_path / "b.parquet", [image(1)], {"organ": ["breast"], "label": ["benign"]}, {})
    with pytest.raises(ValueError, match=r"its class is 'breast benign'; expected one of colon_aca"):
        list_tiles(LC25000(path=str(tmp_path / "b.parquet")))
    whole = {"label": ["lung_aca", "lung_n", "lung_scc", "colon_aca", "colon_n"]}
    parquet(tmp_path / "c.parquet", [image(value) for value in range(5)], whole, {})
    assert [ref.label_name for ref in list_tiles(LC25000(path=str(tmp_path / "c.parquet")))] == whole["label"]


def test_a_row_group_that_would_be_too_large_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.data.reading.parquet_tree.ROW_GROUP", 1000)
    big = [{"bytes": np.random.default_rng(0).bytes(2000), "path": None}, image(1)]
    parquet(tmp_path / "a.parquet", big, {"label": ["x", "y"]}, {}, rows_a_group=1)
    source = open_source(Parquet(path=str(tmp_path)), seed=0)
    tiles, rejected = make_tiles(source, [TileItem(ref, "train") for ref in source.list()], 32)
    assert tiles.num_rows == 1
    assert "write the file with row_group_size=100" in rejected["reason"].to_pylist()[0]


@pytest.mark.parametrize("written", [b"[]", b"{", b"[" * 100_000, b'{"info": {"features": {"label": {"names": 3}}}}'])
def test_metadata_of_parquet_that_is_not_of_datasets_is_refused(written: bytes, tmp_path: Path) -> None:
    table = pa.table({"image": pa.array([image(1), image(2)]), "label": [0, 1]})
    pq.write_table(table.replace_schema_metadata({b"huggingface": written}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="metadata does not describe columns as the library `datasets` does"):
        list_tiles(Parquet(path=str(tmp_path)))
