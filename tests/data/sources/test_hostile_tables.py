"""Tables of published data sets that lead out of the folder, are wrong, or are damaged."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from raypipe.base.settings import Settings
from raypipe.data.sources import open_source
from raypipe.data.sources.chaoyang import Chaoyang
from raypipe.data.sources.chest_xray14 import ChestXray14
from raypipe.data.sources.fundus import Fundus
from raypipe.data.sources.medmnist import MedMNIST
from raypipe.data.sources.parquet import Parquet
from raypipe.data.tiles import TileItem, make_tiles
from tests.data.layouts import (
    CHAOYANG_FILES,
    CHEST_ENTRIES,
    CHEST_FILES,
    FUNDUS_FILES,
    huggingface,
    image,
    labeled,
    list_tiles,
    pictures,
    png,
    write,
)


def test_no_name_in_a_table_is_opened(tmp_path: Path) -> None:
    secret = tmp_path / "secret.JPG"
    secret.write_bytes(png(1))
    names = ["../secret.JPG", str(secret), "train/../../../secret.JPG", "train/535940-IMG009x024-2.JPG"]
    files = {
        **CHAOYANG_FILES,
        "chaoyang-data/train.json": json.dumps([{"name": n, "label": 1} for n in names]).encode(),
    }
    chaoyang = Chaoyang(path=write(tmp_path, files, as_zip=False))
    assert not any("secret" in ref.path for ref in list_tiles(chaoyang))
    chest = {**CHEST_FILES, "Data_Entry_2017.csv": (CHEST_ENTRIES + f"../../secret.JPG,Mass\n{secret},Mass\n").encode()}
    fundus = {**FUNDUS_FILES, "trainLabels.csv": b"image,level\n../../secret,0\n10_left,1\n"}
    for place, settings_of in (("chest", ChestXray14), ("fundus", Fundus)):
        (tmp_path / place).mkdir()
        path = write(tmp_path / place, chest if place == "chest" else fundus, as_zip=False)
        assert not any("secret" in ref.path for ref in list_tiles(settings_of(path=path)))


WRONG: dict[str, tuple[str, dict[str, bytes], str]] = {
    "no json": ("chaoyang", {"chaoyang-data/train.json": b"[{"}, "train.json: is not JSON"),
    "json without an end": ("chaoyang", {"chaoyang-data/train.json": b"[" * 100_000}, "train.json: is not JSON"),
    "json of another kind": ("chaoyang", {"chaoyang-data/train.json": b"{}"}, "expected a list of {name, label}"),
    "an entry without a name": ("chaoyang", {"chaoyang-data/test.json": b'[{"label": 1}]'}, "entry 1: expected {name"),
    "a label that is none": (
        "chaoyang",
        {"chaoyang-data/test.json": b'[{"name": "a", "label": 9}]'},
        r"entry 1: label is \[9\]; expected 0..3",
    ),
    "a tile on both sides": (
        "chaoyang",
        {"chaoyang-data/test.json": b'[{"name": "train/535940-IMG009x024-2.JPG", "label": 1}]'},
        "is named twice",
    ),
    "no image of a finding": (
        "chest",
        {"Data_Entry_2017.csv": b"Image Index,Finding Labels\na.png,Flu\n"},
        "line 2: no",
    ),
    "an image twice": (
        "chest",
        {"Data_Entry_2017.csv": b"Image Index,Finding Labels\na.png,Mass\na.png,Mass\n"},
        "line 3 names a.png again",
    ),
    "a patient's image on both sides": ("chest", {"test_list.txt": b"00000001_000.png"}, "is in both"),
    "a list that is no text": ("chest", {"test_list.txt": b"\xff\xfe\x00"}, "test_list.txt: expected UTF-8 text"),
    "other columns": ("fundus", {"trainLabels.csv": b"name,grade\n"}, "expected a header with image and level"),
    "a grade that is none": ("fundus", {"trainLabels.csv": b"image,level\n10_left,7\n"}, "line 2: level is '7'"),
    "an eye twice": (
        "fundus",
        {"trainLabels.csv": b"image,level\n10_left,1\n10_left,2\n"},
        "line 3 names 10_left again",
    ),
    "two files of one name": ("fundus", {"other/10_left.png": png(1)}, "means .* by '10_left'; keep one"),
    "two tables": ("fundus", {"other/trainLabels.csv": b"image,level\n"}, "expected one trainLabels.csv, found"),
}
KINDS: dict[str, tuple[Callable[..., Settings], dict[str, bytes]]] = {
    "chaoyang": (Chaoyang, CHAOYANG_FILES),
    "chest": (ChestXray14, CHEST_FILES),
    "fundus": (Fundus, FUNDUS_FILES),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_table_that_cannot_be_meant_is_refused_with_its_place(name: str, tmp_path: Path) -> None:
    kind, changed, message = WRONG[name]
    settings_of, files = KINDS[kind]
    with pytest.raises(ValueError, match=message):
        list_tiles(settings_of(path=write(tmp_path, files | changed, as_zip=True)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_that_is_not_there_is_told(kind: str, tmp_path: Path) -> None:
    settings_of, files = KINDS[kind]
    images = {name: data for name, data in files.items() if name.lower().endswith(("jpg", "jpeg", "png"))}
    with pytest.raises(FileNotFoundError, match=r"it has no .*, which belongs to the data set"):
        list_tiles(settings_of(path=write(tmp_path, images, as_zip=False)))


def taken_or_refused(settings_of: Settings) -> None:
    """Open a data set, which gives tiles or a sentence; every tile can be read, or OSError gives the reason."""
    try:
        source = open_source(settings_of, seed=0)
        refs = source.list()
    except (OSError, ValueError) as error:
        assert str(error).strip()  # noqa: PT017
        return
    make_tiles(source, [TileItem(ref, "train") for ref in refs if ref.problem is None], 8)
    source.fingerprint(refs)


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy of any bytes, the file cut short, or the file with some bytes changed."""
    places = st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=8)

    def changed(edits: list[tuple[int, int]]) -> bytes:
        data = bytearray(whole)
        for place, value in edits:
            data[place] = value
        return bytes(data)

    return st.binary(max_size=200) | st.integers(0, len(whole)).map(lambda end: whole[:end]) | places.map(changed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["train/a.JPG", "label", "name"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "label", "label_A"]), inner),
    max_leaves=6,
)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=50))
def test_any_json_is_a_list_of_tiles_or_refused(tmp_path: Path, data: bytes) -> None:
    taken_or_refused(
        Chaoyang(path=write(tmp_path, {"train.json": data, "test.json": b"[]", "train/a.JPG": png(1)}, as_zip=False))
    )


@QUICK
@given(st.binary(max_size=80), st.sampled_from([b"", b"Image Index,Finding Labels\n", b"image,level\n"]))
def test_any_csv_of_findings_or_grades_is_taken_or_refused(tmp_path: Path, data: bytes, header: bytes) -> None:
    files = {**CHEST_FILES, "Data_Entry_2017.csv": header + data, "trainLabels.csv": header + data}
    path = write(tmp_path, files, as_zip=False)
    taken_or_refused(ChestXray14(path=path))
    taken_or_refused(Fundus(path=path))


def npz_bytes() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, train_images=pictures(3, 4, 4), train_labels=labeled(0, 1, 0))
    return buffer.getvalue()


def parquet_bytes() -> bytes:
    table = pa.table({"image": pa.array([image(1, "a.png"), image(2)]), "label": [0, 1]})
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(huggingface({"label": ["a", "b"]})), buffer)
    return buffer.getvalue()


@QUICK
@given(damaged(npz_bytes()))
def test_a_damaged_npz_is_pictures_or_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(data)
    taken_or_refused(MedMNIST(path=str(tmp_path / "a.npz")))


def change_byte(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


@QUICK
@example(change_byte(parquet_bytes(), 157, 0))  # a row group with fewer rows than its metadata states
@given(damaged(parquet_bytes()))
def test_damaged_parquet_is_rows_or_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(data)
    taken_or_refused(Parquet(path=str(tmp_path / "a.parquet")))
