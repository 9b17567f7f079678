"""The published splits, and the special properties of each published data set."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from raypipe.base.settings import Settings
from raypipe.data.leakage import measure_leakage
from raypipe.data.source import TileRef
from raypipe.data.sources.breakhis import BreakHis
from raypipe.data.sources.chaoyang import Chaoyang
from raypipe.data.sources.chest_xray14 import ChestXray14
from raypipe.data.sources.ebhi_seg import EBHISeg
from raypipe.data.splits import assign_splits
from tests.data.layouts import (
    BREAKHIS_FILES,
    CHAOYANG_FILES,
    CHAOYANG_IMAGES,
    CHAOYANG_TEST,
    CHEST_FILES,
    EBHI_FILES,
    hub,
    list_tiles,
    medmnist,
    png,
    write,
)


def asides(settings: Settings) -> dict[str, str]:
    return {ref.path: ref.problem for ref in list_tiles(settings) if ref.problem is not None}


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
    refs = list_tiles(opened(tmp_path))
    sides = assign_splits(refs, "official", 0.01, seed=9)
    assert sides == {ref.path: ref.official for ref in refs if ref.problem is None}
    assert set(sides.values()) == {"train", "test"}


def test_where_no_split_was_published_official_says_so(tmp_path: Path) -> None:
    refs = list_tiles(EBHISeg(path=write(tmp_path, EBHI_FILES, as_zip=False)))
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
    refs = [ref for ref in list_tiles(Chaoyang(path=write(tmp_path, files, as_zip=False))) if ref.problem is None]
    assert measure_leakage((ref.group, str(ref.official)) for ref in refs) == 0.5


# Tests of the facts in a data set's own files.


def test_masks_of_ebhi_seg_are_no_tiles(tmp_path: Path) -> None:
    path = write(tmp_path, EBHI_FILES, as_zip=False)
    for where in (path, f"{path}/EBHI-SEG"):
        assert not any("label/" in ref.path for ref in list_tiles(EBHISeg(path=where)))


def test_a_patient_of_breakhis_is_on_one_side_in_all_magnifications(tmp_path: Path) -> None:
    files = {f"SOB_B_A-14-{patient}-{zoom}-001.png": png(1) for patient in range(100, 110) for zoom in (40, 100, 200)}
    files |= {f"SOB_M_DC-14-{patient}-{zoom}-001.png": png(2) for patient in range(200, 210) for zoom in (40, 400)}
    refs = list_tiles(BreakHis(path=write(tmp_path, files, as_zip=False)))
    sides = assign_splits(refs, "group", 0.7, seed=0)
    for ref in refs:
        assert {sides[other.path] for other in refs if other.group == ref.group} == {sides[ref.path]}
    assert len(list_tiles(BreakHis(path=str(tmp_path / "tiles"), magnification=400))) == 10


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
    refs = {ref.path: ref for ref in list_tiles(Chaoyang(path=write(tmp_path, files, as_zip=False)))}
    found = [refs[f"chaoyang-data/{name}"] for name in names]
    assert [ref.label_name for ref in found] == ["normal", "adenocarcinoma", None, "adenoma"]
    assert found[2].problem == "no two of the pathologists agree: normal, serrated, adenocarcinoma"


def test_findings_of_several_classes_are_set_aside_or_the_first_counts(tmp_path: Path) -> None:
    path = write(tmp_path, CHEST_FILES, as_zip=False)
    classes = {"lung": ["Emphysema", "Mass"], "heart": ["Cardiomegaly"], "none": ["No Finding"]}
    both = "images_001/images/00000001_001.png"
    aside = ChestXray14(path=path, findings=classes)
    assert asides(aside)[both] == "its findings belong to several classes: lung, heart"
    first = {ref.path: ref.label_name for ref in list_tiles(ChestXray14(path=path, findings=classes, several="first"))}
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
