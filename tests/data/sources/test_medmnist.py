"""Files of MedMNIST: their pictures, and what is refused."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raypipe.base.settings import Settings
from raypipe.data.reading.images import decode
from raypipe.data.sources import open_source
from raypipe.data.sources.medmnist import CHECKSUMS, CLASSES, MedMNIST
from tests.data.layouts import (
    labeled,
    list_tiles,
    medmnist,
    npz,
    pictures,
)


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
        list_tiles(unfit(tmp_path, name, **arrays))


def test_labels_may_be_one_hot(tmp_path: Path) -> None:
    for kind in (np.uint8, np.float32, np.bool_):
        source = open_source(unfit(tmp_path, train_labels=np.eye(3, dtype=kind)[[2, 0]]), seed=0)
        assert [ref.label_name for ref in source.list()] == ["2", "0"]
    for wrong in ([[1, 1], [0, 1]], [[0, 0], [0, 1]], [[0.5, 0.5], [0, 1]]):
        with pytest.raises(ValueError, match="2 labels a picture; expected one, as a number or one-hot"):
            list_tiles(unfit(tmp_path, train_labels=np.array(wrong)))


@pytest.mark.parametrize("x", ["x", "X"])
def test_arrays_may_be_named_as_those_of_keras(x: str, tmp_path: Path) -> None:
    images = pictures(3, 8, 8, 3)
    path = npz(tmp_path / "own.npz", **{f"{x}_train": images[:2], "y_train": labeled(0, 1),
                                        f"{x}_test": images[2:], "y_test": labeled(1)})  # fmt: skip
    source = open_source(MedMNIST(path=path), seed=0)
    assert [(ref.path, ref.label_name, ref.official) for ref in source.list()] == [
        ("test/0000000.png", "1", "test"), ("train/0000000.png", "0", "train"), ("train/0000001.png", "1", "train")
    ]  # fmt: skip
    assert np.array_equal(decode(source.read("test/0000000.png"), 8), images[2])


class Bomb:
    """A class that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("something of the pickle ran",)


def test_nothing_of_a_pickle_in_an_npz_runs(tmp_path: Path) -> None:
    images = np.empty((2, 8, 8), object)
    images[:] = Bomb()
    with pytest.raises(ValueError, match=r"train_images.npy holds object"):
        list_tiles(unfit(tmp_path, train_images=images))


def test_an_npz_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, shape in (("train_images", (10**6, 64, 64)), ("train_labels", (10**6, 1))):
            head = io.BytesIO()
            np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": shape})
            archive.writestr(f"{name}.npy", head.getvalue() + bytes(min(int(np.prod(shape)), 10**6)))
        archive.NameToInfo["train_images.npy"].file_size = 4 * 2**30 - 2  # the size that the file declares
    with pytest.raises(ValueError, match="unpacks to 4,294,967,294 bytes, more than 2,147,483,648; take a smaller"):
        list_tiles(MedMNIST(path=str(tmp_path / "a.npz")))
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


@pytest.mark.parametrize(("numbers", "labels"), [((1, 2), ("1", "2")), ((0, 500), ("0", "500"))])
def test_numbers_that_do_not_occur_are_no_classes(
    numbers: tuple[int, int], labels: tuple[str, str], tmp_path: Path
) -> None:
    source = open_source(unfit(tmp_path, train_labels=np.array([[number] for number in numbers])), seed=0)
    assert source.labels == labels
    assert [ref.label_name for ref in source.list()] == list(labels)


def test_one_channel_is_gray(tmp_path: Path) -> None:
    gray = pictures(2, 8, 8)
    flat = open_source(unfit(tmp_path, train_images=gray), seed=0).read("train/0000001.png")
    assert open_source(unfit(tmp_path, "b.npz", train_images=gray[..., None]), seed=0).read("train/0000001.png") == flat
