"""Class folders as people have them: inside a published split, beside other folders, and in archives of Windows."""

import json
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from raypipe.base.errors import Notice
from raypipe.cli.app import main
from raypipe.data.audit.audit import choose_class_folders
from raypipe.data.source import Source
from raypipe.data.sources import open_source
from raypipe.data.sources.folder import Folder
from raypipe.data.splits import assign_splits
from raypipe.data.subset import choose_files
from tests.data.layouts import png, write


def opened(root: Path, *names: str, contents: bytes | None = None) -> Source:
    files = {name: contents or png(place) for place, name in enumerate(names)}
    return open_source(Folder(path=write(root, files, as_zip=False)), seed=0)


def below(*sides: str) -> list[str]:
    return [f"{side}/{label}/{number}.png" for side in sides for label in ("benign", "malignant") for number in (1, 2)]


@pytest.mark.parametrize(
    ("sides", "test"),
    [
        (("train", "val", "test"), {"test"}),
        (("Training", "Testing"), {"Testing"}),
        (("TRAIN", "VALID"), {"VALID"}),
        (("train_set", "test_set"), {"test_set"}),
    ],
)
def test_the_folders_of_a_published_split_are_its_sides_and_no_classes(
    sides: tuple[str, ...], test: set[str], tmp_path: Path
) -> None:
    source = opened(tmp_path, *below(*sides))
    assert source.labels == ("benign", "malignant")
    assigned = assign_splits(source.list(), "official", 0.5, 0)
    assert {path for path, side in assigned.items() if side == "test"} == set(below(*sorted(test)))
    assert len(assigned) == 4 * len(sides)


@pytest.mark.parametrize("around", ["data/", "data/lung tiles v2/"])
@pytest.mark.parametrize("as_zip", [False, True])
def test_a_folder_around_everything_is_passed_over(around: str, as_zip: bool, tmp_path: Path) -> None:
    flat = [f"{label}/{number}.png" for label in ("benign", "malignant") for number in (1, 2)]
    files = {f"{around}{name}": png(place) for place, name in enumerate(flat)}
    beside = {f"{around}benign/.DS_Store": b"x", "__MACOSX/data/benign/._1.png": b"x", "README.txt": b"x"}
    source = open_source(Folder(path=write(tmp_path, files | beside, as_zip=as_zip)), seed=0)
    assert source.labels == ("benign", "malignant")
    refs = source.list()
    assert {ref.path: ref.label_name for ref in refs if ref.problem is None} == {
        f"{around}{name}": name.partition("/")[0] for name in flat
    }
    assert {ref.path for ref in refs if ref.problem is not None} == set(beside)


@pytest.mark.parametrize("around", ["", "slides/"])
def test_folders_of_patients_are_no_classes(around: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="P1, P2, P3 are named as patients or slides, and not as classes"):
        opened(tmp_path, *(f"{around}P{number}/1.png" for number in (1, 2, 3)))
    source = opened(tmp_path / "right", *(f"{around}{label}/P{number}/1.png" for label in "ab" for number in (1, 2)))
    assert source.labels == ("a", "b")


def test_a_published_split_may_lie_in_a_folder_too(tmp_path: Path) -> None:
    names = [f"data/{name}" for name in below("train", "test")]
    source = opened(tmp_path, *names)
    assert source.labels == ("benign", "malignant")
    assert {ref.path for ref in source.list() if ref.official == "test"} == {f"data/{name}" for name in below("test")}


def test_a_finished_model_is_tested_on_the_test_side(tmp_path: Path) -> None:
    with pytest.warns(Notice, match="4 test tiles are used, and 8 training tiles are left out"):
        chosen = choose_files(opened(tmp_path, *below("train", "val", "test")), None)
    assert [ref.path for ref in chosen] == below("test")


def test_lung_tiles_in_a_published_split_are_not_taken_for_the_layout_of_lc25000(tmp_path: Path) -> None:
    files = {f"{side}/{label}/1.png": png(1) for side in ("train", "test") for label in ("lung_n", "lung_aca")}
    assert isinstance(choose_class_folders(write(tmp_path, files, as_zip=False)), Folder)


def test_sides_without_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="test, train are named as the sides of a split, and hold no class folders"):
        opened(tmp_path, "train/1.png", "test/1.png")


@pytest.mark.parametrize(
    ("tops", "message"),
    [
        (("fold1", "fold2", "fold3"), "fold1, fold2, fold3 are named as parts of a data set, and each holds the same"),
        (("Batch_1", "Batch_2"), "are named as parts of a data set"),
        (("images", "masks"), "images and masks are named as pictures and what belongs to them"),
        (("imgs", "annotations", "masks"), "imgs and annotations, masks are named as pictures"),
    ],
)
def test_parts_and_masks_are_no_classes(tops: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        opened(tmp_path, *below(*tops))


@pytest.mark.parametrize("tops", [("benign", "malignant"), ("set1", "control"), ("images", "others")])
def test_other_names_of_folders_are_classes(tops: tuple[str, ...], tmp_path: Path) -> None:
    assert opened(tmp_path, *below(*tops)).labels == tuple(sorted(tops))


def test_classes_that_are_named_like_a_side_stay_classes_beside_others(tmp_path: Path) -> None:
    source = opened(tmp_path, "test/1.png", "train/1.png", "control/1.png")
    assert source.labels == ("control", "test", "train")


@pytest.mark.parametrize("contents", [b"readme", b"", b"<html>login</html>", png(1)[:40]])
def test_a_class_without_an_image_is_named(contents: bytes, tmp_path: Path) -> None:
    (tmp_path / "tiles" / "docs").mkdir(parents=True)
    (tmp_path / "tiles" / "docs" / "1.png").write_bytes(contents)
    with pytest.raises(ValueError, match=r"no file of the class folder docs \(docs/1\.png: .*\) gives an image"):
        opened(tmp_path, "a/1.png", "b/1.png")


def test_a_class_with_one_image_among_damaged_files_is_a_class(tmp_path: Path) -> None:
    (tmp_path / "tiles" / "a").mkdir(parents=True)
    (tmp_path / "tiles" / "a" / "0.png").write_bytes(b"damaged")
    assert opened(tmp_path, "a/1.png", "b/1.png").labels == ("a", "b")


def test_backslashes_in_an_archive_separate_folders(tmp_path: Path) -> None:
    names = ("a/1.png", "b/deep/1.png")
    with zipfile.ZipFile(tmp_path / "windows.zip", "w") as archive:
        for place, name in enumerate((*names, "..\\up.png")):
            member = zipfile.ZipInfo("x")
            member.filename = name.replace("/", "\\")
            archive.writestr(member, png(place))
    source = open_source(Folder(path=str(tmp_path / "windows.zip")), seed=0)
    assert source.labels == ("a", "b")
    assert [ref.path for ref in source.list() if ref.problem is None] == list(names)
    assert source.read(names[1]) == png(1)
    assert len(source.fingerprint(source.list())) == 64


def test_validate_counts_the_classes_and_warns_of_missing_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened(tmp_path, "b/1.png", *(f"a/{number}.png" for number in range(6)))
    monkeypatch.chdir(tmp_path)
    settings = (
        "data: {source: folder, path: tiles}, models: [convnet], attacks: [fgsm], tiles: {size: 32, split: paper}"
    )
    (tmp_path / "t.yaml").write_text(f"{{name: t, {settings}}}")
    monkeypatch.setattr(sys, "argv", ["raypipe", "validate", "t.yaml", "--json"])
    with pytest.raises(SystemExit):
        main()
    told = json.loads(capsys.readouterr().out)
    counts = told["classes"]["paper"]
    assert sum((Counter(side) for side in counts.values()), Counter()) == {"a": 6, "b": 1}
    (missing,) = (side for side in counts if counts[side]["b"] == 0)
    of = {"train": "no training tile is of the class b", "test": "attacked tiles is of the class b"}[missing]
    assert any(of in warning for warning in told["warnings"])
