"""One contract for every data set, and the special properties of each."""

import os
import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from raypipe.base.settings import Settings
from raypipe.data.reading.images import decode
from raypipe.data.sources import SOURCES, open_source
from raypipe.data.sources.ebhi_seg import EBHISeg
from raypipe.data.sources.folder import Folder
from raypipe.data.sources.lc25000 import LC25000
from raypipe.data.sources.synthetic import Synthetic
from tests.data.layouts import FOLDER_FILES, PUBLISHED_LAYOUTS, Case, png, write
from tests.real_tiles import REAL_TILES, needs_real_tiles

LC25000_FILES = {
    "lung_colon_image_set/.DS_Store": b"finder",
    "__MACOSX/lung_colon_image_set/lung_image_sets/lung_n/._lungn1.jpeg": b"fork",
    "lung_colon_image_set/colon_image_sets/colon_aca/colonca1.jpeg": png(10),
    "lung_colon_image_set/colon_image_sets/colon_aca/colonca2.jpeg": png(11),
    "lung_colon_image_set/colon_image_sets/colon_n/colonn1.jpeg": png(12),
    "lung_colon_image_set/lung_image_sets/lung_aca/lungaca1.jpeg": png(13),
    "lung_colon_image_set/lung_image_sets/lung_n/lungn1.jpeg": png(14),
    "lung_colon_image_set/lung_image_sets/lung_scc/lungscc1.jpeg": png(15),
    "lung_colon_image_set/readme.txt": b"LC25000",
}
GROUPS = """filename,label,group
colonca1.jpeg,colon_aca,colon_aca:1
colonca2.jpeg,colon_aca,colon_aca:1
lungn1.jpeg,lung_n,lung_n:1
lungn999.jpeg,lung_n,lung_n:9
"""


LC25000_LABELS = ("colon_aca", "colon_n", "lung_aca", "lung_n", "lung_scc")


def lc25000(root: Path, *, as_zip: bool, grouped: bool) -> LC25000:
    (root / "groups.csv").write_text(GROUPS)
    path = write(root, LC25000_FILES, as_zip=as_zip)
    return LC25000(path=path, groups=str(root / "groups.csv") if grouped else None)


LC25000_TILES = {"colon_aca": 2, "colon_n": 1, "lung_aca": 1, "lung_n": 1, "lung_scc": 1}
FOLDER_TILES = {"Polyp": 2, "Normal": 2}
CASES = [
    Case(
        "lc25000 directory",
        lambda root: lc25000(root, as_zip=False, grouped=True),
        LC25000_LABELS,
        LC25000_TILES,
        3,
        {"colon_aca:1": 2, "lung_n:1": 1},
    ),
    Case(
        "lc25000 zip",
        lambda root: lc25000(root, as_zip=True, grouped=False),
        LC25000_LABELS,
        LC25000_TILES,
        3,
        {},
    ),
    Case(
        "folder directory",
        lambda root: Folder(path=write(root, FOLDER_FILES, as_zip=False), group_pattern=r"^GT(\d+)"),
        ("Normal", "Polyp"),
        FOLDER_TILES,
        2,
        {"1": 2, "2": 1},
    ),
    Case(
        "folder zip",
        lambda root: Folder(path=write(root, FOLDER_FILES, as_zip=True)),
        ("Normal", "Polyp"),
        FOLDER_TILES,
        2,
        {},
    ),
    Case(
        "synthetic",
        lambda root: Synthetic(sources_per_class=2, siblings=3, size=32),
        LC25000_LABELS,
        dict.fromkeys(LC25000_LABELS, 6),
        0,
        {f"{label}:{source}": 3 for label in LC25000_LABELS for source in range(2)},
        synthetic=True,
    ),
    *PUBLISHED_LAYOUTS,
]
CASE_IDS = [case.name for case in CASES]


@pytest.mark.parametrize("case", CASES, ids=CASE_IDS)
def test_every_source_lists_what_is_there(case, tmp_path):
    source = open_source(case.settings(tmp_path), seed=3)
    refs = source.list()
    tiles = [ref for ref in refs if ref.problem is None]

    assert source.labels == case.labels
    assert source.synthetic is case.synthetic
    assert (source.restriction is not None) is case.restricted
    assert Counter(ref.official for ref in tiles if ref.official is not None) == case.official
    assert [ref.path for ref in refs] == sorted({ref.path for ref in refs})
    assert Counter(ref.label_name for ref in tiles) == case.tiles
    assert Counter(ref.group for ref in tiles if ref.group is not None) == case.groups
    assert len(refs) - len(tiles) == case.aside
    assert all(ref.label_name is None and ref.group is None for ref in refs if ref.problem is not None)


@pytest.mark.parametrize("case", CASES, ids=CASE_IDS)
def test_every_source_reads_its_tiles_also_in_a_worker(case, tmp_path):
    source = open_source(case.settings(tmp_path), seed=3)
    other = pickle.loads(pickle.dumps(source))
    assert other.list() == source.list()
    for ref in source.list():
        if ref.problem is None:
            data = source.read(ref.path)
            assert decode(data, 32).shape == (32, 32, 3)
            assert other.read(ref.path) == data


@pytest.mark.parametrize("case", CASES, ids=CASE_IDS)
@pytest.mark.parametrize("path", ["../tiles.zip", "no/such.png", "colon_aca/9999/00.png", "colon_aca/0000/99.png"])
def test_no_source_reads_what_it_does_not_list(case, path, tmp_path):
    source = open_source(case.settings(tmp_path), seed=3)
    with pytest.raises(OSError, match=r"\S"):
        source.read(path)


@pytest.mark.parametrize("case", CASES, ids=CASE_IDS)
def test_every_fingerprint_depends_on_what_is_asked_and_on_nothing_else(case, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    here = open_source(case.settings(tmp_path / "here"), seed=3)
    there = open_source(case.settings(tmp_path / "there"), seed=3)
    refs = here.list()
    cache: dict[str, str] = {}

    fingerprint = here.fingerprint(refs, cache)
    assert len(bytes.fromhex(fingerprint)) == 32
    assert here.fingerprint(reversed(refs), cache) == fingerprint
    assert there.fingerprint(there.list(), None) == fingerprint
    assert here.fingerprint(refs[:-1], cache) != fingerprint


def test_a_fingerprint_survives_a_copy_and_not_a_changed_byte(tmp_path):
    settings = lc25000(tmp_path, as_zip=False, grouped=True)
    source = open_source(settings, seed=3)
    fingerprint = source.fingerprint(source.list())

    copy = tmp_path / "elsewhere"
    shutil.copytree(settings.path, copy)
    tile = copy / "lung_colon_image_set/lung_image_sets/lung_n/lungn1.jpeg"
    os.utime(tile, ns=(1, 1))
    moved = open_source(LC25000(path=str(copy), groups=settings.groups), seed=3)
    cache: dict[str, str] = {}
    assert moved.fingerprint(moved.list(), cache) == fingerprint

    data = bytearray(tile.read_bytes())
    data[-1] ^= 1
    tile.write_bytes(data)
    assert moved.fingerprint(moved.list(), cache) != fingerprint


def test_a_fingerprint_changes_with_the_groups(tmp_path):
    settings = lc25000(tmp_path, as_zip=False, grouped=True)
    source = open_source(settings, seed=3)
    fingerprint = source.fingerprint(source.list())
    (tmp_path / "groups.csv").write_text(GROUPS.replace("lung_n:1", "lung_n:2"))
    assert source.fingerprint(source.list()) != fingerprint


def test_zip_fingerprints_change_with_a_byte(tmp_path):
    changed = dict(LC25000_FILES)
    changed["lung_colon_image_set/lung_image_sets/lung_n/lungn1.jpeg"] = png(99)
    fingerprints = set()
    for name, files in {"a": LC25000_FILES, "b": changed}.items():
        (tmp_path / name).mkdir()
        source = open_source(LC25000(path=write(tmp_path / name, files, as_zip=True)), seed=3)
        fingerprints.add(source.fingerprint(source.list()))
    assert len(fingerprints) == 2


def test_the_registry_names_each_source_as_its_settings_do():
    for name, entry in SOURCES.items():
        assert get_args(entry.settings.model_fields["source"].annotation) == (name,)
    with pytest.raises(TypeError, match=r"expected the settings of a data set \(AREDS, BreakHis, .*Synthetic\)"):
        open_source(Settings(), seed=0)


def test_files_set_aside_say_why(tmp_path):
    source = open_source(lc25000(tmp_path, as_zip=True, grouped=False), seed=3)
    assert {ref.path: ref.problem for ref in source.list() if ref.problem} == {
        "__MACOSX/lung_colon_image_set/lung_image_sets/lung_n/._lungn1.jpeg": "hidden file",
        "lung_colon_image_set/.DS_Store": "hidden file",
        "lung_colon_image_set/readme.txt": (
            "not in a class folder (expected one of colon_aca, colon_n, lung_aca, lung_n, lung_scc)"
        ),
    }


def test_a_wrong_folder_is_an_error_not_an_empty_data_set(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: not found"):
        open_source(LC25000(path=str(tmp_path / "nowhere")), seed=3)
    path = write(tmp_path, FOLDER_FILES, as_zip=False)
    with pytest.raises(ValueError, match="none of 6 files is a tile: 5 are not in a class folder"):
        open_source(LC25000(path=path), seed=3).list()
    (tmp_path / "flat" / "tiles").mkdir(parents=True)
    (tmp_path / "flat" / "tiles" / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"expected at least two class folders.*found tiles; point to the folder"):
        open_source(Folder(path=str(tmp_path / "flat")), seed=3)


def test_a_limited_source_keeps_its_count_and_the_files_set_aside(tmp_path):
    settings = lc25000(tmp_path, as_zip=False, grouped=True).model_copy(update={"per_class": 1})
    refs = open_source(settings, seed=3).list()
    assert Counter(ref.label_name for ref in refs) == {**dict.fromkeys(LC25000_LABELS, 1), None: 3}


def test_synthetic_fingerprints_follow_the_settings_and_the_seed():
    small = Synthetic(sources_per_class=2, siblings=2, size=32)
    prints = {
        open_source(settings, seed).fingerprint(open_source(small, seed).list())
        for settings, seed in [(small, 1), (small, 2), (small.model_copy(update={"size": 64}), 1)]
    }
    assert len(prints) == 3
    more = open_source(small.model_copy(update={"sources_per_class": 3}), 1)
    assert more.fingerprint(open_source(small, 1).list()) in prints


@needs_real_tiles
def test_the_real_lc25000_is_grouped_completely():
    settings = LC25000(
        path=str(REAL_TILES / "lc25000" / "lung_colon_image_set"), groups=str(REAL_TILES / "lc25000" / "groups.csv")
    )
    refs = open_source(settings, seed=0).list()
    assert len(refs) == 4232
    assert len({ref.group for ref in refs}) == 985
    assert all(ref.problem is None and ref.group is not None for ref in refs)
    assert Counter(ref.label_name for ref in refs) == {
        "lung_aca": 900,
        "lung_n": 900,
        "lung_scc": 900,
        "colon_aca": 780,
        "colon_n": 752,
    }


@needs_real_tiles
def test_the_real_ebhi_seg_is_grouped_by_case():
    source = open_source(EBHISeg(path=str(REAL_TILES / "ebhi_seg")), seed=0)
    refs = source.list()
    assert source.labels == ("Adenocarcinoma", "High-grade_IN", "Low-grade_IN", "Normal", "Polyp", "Serrated_adenoma")
    assert len(refs) == 881
    assert all(ref.group is not None for ref in refs)
    assert decode(source.read(refs[0].path), 64).shape == (64, 64, 3)
