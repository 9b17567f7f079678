"""The special properties of the published data sets, and their wrong or hostile tables."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from raypipe.base.settings import Settings
from raypipe.data.leakage import measure_leakage
from raypipe.data.reading.images import decode
from raypipe.data.source import TileRef
from raypipe.data.sources import open_source
from raypipe.data.sources.breakhis import BreakHis
from raypipe.data.sources.chaoyang import Chaoyang
from raypipe.data.sources.chest_xray14 import ChestXray14
from raypipe.data.sources.ebhi_seg import EBHISeg
from raypipe.data.sources.fundus import Fundus
from raypipe.data.sources.lc25000 import LC25000
from raypipe.data.sources.medmnist import CHECKSUMS, CLASSES, MedMNIST
from raypipe.data.sources.parquet import Parquet
from raypipe.data.splits import assign_splits
from raypipe.data.tiles import TileItem, make_tiles
from tests.data.layouts import (
    BREAKHIS_FILES,
    CHAOYANG_FILES,
    CHAOYANG_IMAGES,
    CHAOYANG_TEST,
    CHEST_ENTRIES,
    CHEST_FILES,
    EBHI_FILES,
    FUNDUS_FILES,
    hub,
    huggingface,
    image,
    labeled,
    lc25000_hub,
    medmnist,
    npz,
    parquet,
    pictures,
    png,
    write,
)


def listed(settings: Settings) -> list[TileRef]:
    return list(open_source(settings, seed=0).list())


def asides(settings: Settings) -> dict[str, str]:
    return {ref.path: ref.problem for ref in listed(settings) if ref.problem is not None}


# Tests of the published splits.


@pytest.mark.parametrize(
    "opened",
    [
        lambda root: Chaoyang(path=write(root, CHAOYANG_FILES, as_zip=False)),
        lambda root: ChestXray14(path=write(root, CHEST_FILES, as_zip=False)),
        lambda root: medmnist(root, 28, 28),
        hub,
    ],
    ids=["chaoyang", "chest_xray14", "medmnist", "parquet"],
)
def test_a_published_split_is_taken_as_it_is(opened: Callable[[Path], Settings], tmp_path: Path) -> None:
    refs = listed(opened(tmp_path))
    sides = assign_splits(refs, "official", 0.01, seed=9)
    assert sides == {ref.path: ref.official for ref in refs if ref.problem is None}
    assert set(sides.values()) == {"train", "test"}


def test_where_no_split_was_published_official_says_so(tmp_path: Path) -> None:
    refs = listed(EBHISeg(path=write(tmp_path, EBHI_FILES, as_zip=False)))
    with pytest.raises(ValueError, match="split 'official': 7 of 7 tiles are on no side of a published split"):
        assign_splits(refs, "official", 0.7, seed=0)
    one = [TileRef("a.png", "a", None, official="train"), TileRef("b.png", "b", None, official="train")]
    with pytest.raises(ValueError, match="no tile is on the side test; complete the data set"):
        assign_splits(one, "official", 0.7, seed=0)


def test_a_published_split_that_does_not_keep_groups_apart_is_measured(tmp_path: Path) -> None:
    files = {**CHAOYANG_FILES, "chaoyang-data/test/535940-IMG001x001-3.JPG": png(9)}
    files["chaoyang-data/test.json"] = json.dumps(
        [*CHAOYANG_TEST, {"name": "test/535940-IMG001x001-3.JPG", "label": 3}]
    ).encode()
    refs = [ref for ref in listed(Chaoyang(path=write(tmp_path, files, as_zip=False))) if ref.problem is None]
    assert measure_leakage((ref.group, str(ref.official)) for ref in refs) == 0.5


# Tests of the facts in a data set's own files.


def test_masks_of_ebhi_seg_are_no_tiles(tmp_path: Path) -> None:
    path = write(tmp_path, EBHI_FILES, as_zip=False)
    for where in (path, f"{path}/EBHI-SEG"):
        assert not any("label/" in ref.path for ref in listed(EBHISeg(path=where)))


def test_a_patient_of_breakhis_is_on_one_side_in_all_magnifications(tmp_path: Path) -> None:
    files = {f"SOB_B_A-14-{patient}-{zoom}-001.png": png(1) for patient in range(100, 110) for zoom in (40, 100, 200)}
    files |= {f"SOB_M_DC-14-{patient}-{zoom}-001.png": png(2) for patient in range(200, 210) for zoom in (40, 400)}
    refs = listed(BreakHis(path=write(tmp_path, files, as_zip=False)))
    sides = assign_splits(refs, "group", 0.7, seed=0)
    for ref in refs:
        assert {sides[other.path] for other in refs if other.group == ref.group} == {sides[ref.path]}
    assert len(listed(BreakHis(path=str(tmp_path / "tiles"), magnification=400))) == 10


def test_breakhis_sets_aside_what_has_no_name_of_its_own(tmp_path: Path) -> None:
    files = {**BREAKHIS_FILES, "SOB_X_A-14-1-40-001.png": png(1), "picture.png": png(1)}
    found = asides(BreakHis(path=write(tmp_path, files, as_zip=False), magnification=40))
    assert set(found) == {"SOB_X_A-14-1-40-001.png", "picture.png", "BreaKHis_v1/histology_slides/breast/README.txt"}


def test_the_pathologists_of_chaoyang_are_outvoted_where_there_is_no_label(tmp_path: Path) -> None:
    said = [(1, 0, 0), (2, 2, 2), (0, 1, 2), (3, 3, 1)]
    names = [name.removeprefix("chaoyang-data/") for name in CHAOYANG_IMAGES if "/train/" in name]
    names.append("train/777-x.JPG")
    entries = [
        {"name": name, "label_A": a, "label_B": b, "label_C": c} for name, (a, b, c) in zip(names, said, strict=True)
    ]
    files = {**CHAOYANG_FILES, "chaoyang-data/train/777-x.JPG": png(7)}
    del files["chaoyang-data/train.json"]
    files["chaoyang-data/train_label.json"] = json.dumps(entries).encode()
    refs = {ref.path: ref for ref in listed(Chaoyang(path=write(tmp_path, files, as_zip=False)))}
    found = [refs[f"chaoyang-data/{name}"] for name in names]
    assert [ref.label_name for ref in found] == ["normal", "adenocarcinoma", None, "adenoma"]
    assert found[2].problem == "no two of the pathologists agree: normal, serrated, adenocarcinoma"


def test_findings_of_several_classes_are_set_aside_or_the_first_counts(tmp_path: Path) -> None:
    path = write(tmp_path, CHEST_FILES, as_zip=False)
    classes = {"lung": ["Emphysema", "Mass"], "heart": ["Cardiomegaly"], "none": ["No Finding"]}
    both = "images_001/images/00000001_001.png"
    aside = ChestXray14(path=path, findings=classes)
    assert asides(aside)[both] == "its findings belong to several classes: lung, heart"
    first = {ref.path: ref.label_name for ref in listed(ChestXray14(path=path, findings=classes, several="first"))}
    assert first[both] == "lung"
    assert "images_002/images/00000003_000.png" not in first, "a hernia is none of the classes"


@pytest.mark.parametrize(
    ("findings", "message"),
    [
        ({"a": ["Pneumona"], "b": ["Mass"]}, r"a: no finding 'Pneumona'; did you mean 'Pneumonia'"),
        ({"a": ["Mass"], "b": ["Mass"]}, "Mass is in a and in b; leave it in one"),
        ({"a": [], "b": ["Mass"]}, "a: expected at least one finding"),
        ({"a": ["Mass"]}, "at least 2 items"),
    ],
)
def test_findings_that_make_no_classes_are_refused(findings: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ChestXray14(path="x", findings=findings)


def test_gray_and_colored_pictures_of_medmnist_are_what_the_file_holds(tmp_path: Path) -> None:
    for shape in ((28, 28), (28, 28, 3)):
        source = open_source(medmnist(tmp_path, *shape), seed=0)
        expected = pictures(3, *shape)[2]
        color = expected if expected.ndim == 3 else np.stack([expected] * 3, axis=-1)
        assert np.array_equal(decode(source.read("train/0000002.png"), 28), color)


def test_every_data_set_of_medmnist_has_its_classes_and_four_checksums() -> None:
    assert CLASSES.keys() == CHECKSUMS.keys()
    assert len(CLASSES) == 11
    every = [checksum for checksums in CHECKSUMS.values() for checksum in checksums]
    assert len(set(every)) == len(every) == 44
    assert {len(bytes.fromhex(checksum)) for checksum in every} == {16}


def unfit(tmp_path: Path, name: str = "a.npz", **arrays: Any) -> Settings:
    filled = {"train_images": pictures(2, 8, 8), "train_labels": labeled(0, 1)} | arrays
    return MedMNIST(path=npz(tmp_path / name, **{key: value for key, value in filled.items() if value is not None}))


@pytest.mark.parametrize(
    ("name", "arrays", "message"),
    [
        ("organmnist3d.npz", {"train_images": pictures(2, 8, 8, 8)}, "volumes, which are no tiles"),
        ("organmnist3d.npz", {"train_images": pictures(2, 8, 8, 3)}, "volumes, which are no tiles"),
        ("chestmnist.npz", {"train_labels": np.zeros((2, 14), np.uint8)}, r"14 labels a picture.*`chest_xray14`"),
        ("a.npz", {"train_images": pictures(2, 8)}, r"has shape \(2, 8\); expected \(n, height, width\)"),
        ("a.npz", {"train_images": np.zeros((2, 8, 8))}, "holds float64; expected 8 bits a value"),
        ("a.npz", {"train_images": np.array([[[{}]]], object)}, "Object arrays cannot be loaded|holds object"),
        ("a.npz", {"train_labels": labeled(0)}, "expected 2 whole numbers"),
        ("a.npz", {"train_labels": np.array([[0.5], [1]])}, "expected 2 whole numbers"),
        ("a.npz", {"train_labels": None}, "train_images.npy has no train_labels.npy beside it"),
        ("a.npz", {"train_images": None, "train_labels": None, "x": labeled(1)}, "expected train_images.npy.*found x"),
        ("pneumoniamnist.npz", {"train_labels": labeled(0, 2)}, "labels run from 0 to 2; expected 0..1, the classes"),
        ("a.npz", {"train_labels": labeled(0, 0)}, "labels run from 0 to 0"),
        ("a.npz", {"train_labels": np.array([[-1], [1]])}, "labels run from -1 to 1"),
    ],
)
def test_what_is_no_file_of_pictures_with_a_label_each_says_why(
    name: str, arrays: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        listed(unfit(tmp_path, name, **arrays))


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
        listed(Parquet(path=str(tmp_path), **more))


def test_files_that_differ_in_their_classes_are_refused(tmp_path: Path) -> None:
    for name, classes in (("train-0", ["a", "b"]), ("test-0", ["b", "a"])):
        parquet(tmp_path / f"{name}.parquet", [image(1), image(2)], {"label": [0, 1]}, {"label": classes})
    with pytest.raises(ValueError, match=r"test-0.parquet and train-0.parquet differ in the classes of label"):
        listed(Parquet(path=str(tmp_path)))
    with pytest.raises(ValidationError, match="group and groups: expected one of them"):
        Parquet(path="x", group="a", groups="b.csv")


def test_lc25000_as_parquet_refuses_other_classes(tmp_path: Path) -> None:
    lc25000_hub(tmp_path)
    parquet(tmp_path / "b.parquet", [image(1)], {"organ": ["breast"], "label": ["benign"]}, {})
    with pytest.raises(ValueError, match=r"its class is 'breast benign'; expected one of colon_aca"):
        listed(LC25000(path=str(tmp_path / "b.parquet")))
    whole = {"label": ["lung_aca", "lung_n", "lung_scc", "colon_aca", "colon_n"]}
    parquet(tmp_path / "c.parquet", [image(value) for value in range(5)], whole, {})
    assert [ref.label_name for ref in listed(LC25000(path=str(tmp_path / "c.parquet")))] == whole["label"]


# Tests of tables that lead out of a data set, or are wrong.


def test_no_name_in_a_table_is_opened(tmp_path: Path) -> None:
    secret = tmp_path / "secret.JPG"
    secret.write_bytes(png(1))
    names = ["../secret.JPG", str(secret), "train/../../../secret.JPG", "train/535940-IMG009x024-2.JPG"]
    files = {
        **CHAOYANG_FILES,
        "chaoyang-data/train.json": json.dumps([{"name": n, "label": 1} for n in names]).encode(),
    }
    chaoyang = Chaoyang(path=write(tmp_path, files, as_zip=False))
    assert not any("secret" in ref.path for ref in listed(chaoyang))
    chest = {**CHEST_FILES, "Data_Entry_2017.csv": (CHEST_ENTRIES + f"../../secret.JPG,Mass\n{secret},Mass\n").encode()}
    fundus = {**FUNDUS_FILES, "trainLabels.csv": b"image,level\n../../secret,0\n10_left,1\n"}
    for place, settings_of in (("chest", ChestXray14), ("fundus", Fundus)):
        (tmp_path / place).mkdir()
        path = write(tmp_path / place, chest if place == "chest" else fundus, as_zip=False)
        assert not any("secret" in ref.path for ref in listed(settings_of(path=path)))


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
        listed(settings_of(path=write(tmp_path, files | changed, as_zip=True)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_that_is_not_there_is_told(kind: str, tmp_path: Path) -> None:
    settings_of, files = KINDS[kind]
    images = {name: data for name, data in files.items() if name.lower().endswith(("jpg", "jpeg", "png"))}
    with pytest.raises(FileNotFoundError, match=r"it has no .*, which belongs to the data set"):
        listed(settings_of(path=write(tmp_path, images, as_zip=False)))


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


@pytest.mark.parametrize("written", [b"[]", b"{", b"[" * 100_000, b'{"info": {"features": {"label": {"names": 3}}}}'])
def test_metadata_of_parquet_that_is_not_of_datasets_is_refused(written: bytes, tmp_path: Path) -> None:
    table = pa.table({"image": pa.array([image(1), image(2)]), "label": [0, 1]})
    pq.write_table(table.replace_schema_metadata({b"huggingface": written}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="metadata does not describe columns as the library `datasets` does"):
        listed(Parquet(path=str(tmp_path)))


class Bomb:
    """A class that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("something of the pickle ran",)


def test_nothing_of_a_pickle_in_an_npz_runs(tmp_path: Path) -> None:
    images = np.empty((2, 8, 8), object)
    images[:] = Bomb()
    with pytest.raises(ValueError, match=r"train_images.npy holds object"):
        listed(unfit(tmp_path, train_images=images))


def test_an_npz_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, shape in (("train_images", (10**6, 64, 64)), ("train_labels", (10**6, 1))):
            head = io.BytesIO()
            np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": shape})
            archive.writestr(f"{name}.npy", head.getvalue() + bytes(min(int(np.prod(shape)), 10**6)))
        archive.NameToInfo["train_images.npy"].file_size = 4 * 2**30 - 2  # the size that the file declares
    with pytest.raises(ValueError, match="unpacks to 4,294,967,294 bytes, more than 2,147,483,648; take a smaller"):
        listed(MedMNIST(path=str(tmp_path / "a.npz")))
    big = io.BytesIO()
    with zipfile.ZipFile(big, "w") as archive:
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (2, 60000, 60000)})
        archive.writestr("train_images.npy", head.getvalue() + bytes(100))
        labels = io.BytesIO()
        np.save(labels, labeled(0, 1))
        archive.writestr("train_labels.npy", labels.getvalue())
    (tmp_path / "b.npz").write_bytes(big.getvalue())
    source = open_source(MedMNIST(path=str(tmp_path / "b.npz")), seed=0)
    with pytest.raises(OSError, match="is shorter than its shape"):
        source.read("train/0000000.png")


def test_a_row_group_that_would_be_too_large_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.data.reading.parquet_tree.ROW_GROUP", 1000)
    big = [{"bytes": np.random.default_rng(0).bytes(2000), "path": None}, image(1)]
    parquet(tmp_path / "a.parquet", big, {"label": ["x", "y"]}, {}, rows_a_group=1)
    source = open_source(Parquet(path=str(tmp_path)), seed=0)
    tiles, rejected = make_tiles(source, [TileItem(ref, "train") for ref in source.list()], 32)
    assert tiles.num_rows == 1
    assert "write the file with row_group_size=100" in rejected["reason"].to_pylist()[0]
