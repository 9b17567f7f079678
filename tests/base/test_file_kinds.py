"""Files that are often saved in place of a data set or a model. Each reader names them in its error."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from raypipe.base.file_kinds import describe_other_file
from raypipe.data.reading.images import UnreadableImage, decode
from raypipe.data.reading.tree import open_tree
from raypipe.data.sources.medmnist import MedMNIST, open_medmnist
from raypipe.models.finished_model import open_model


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a/1.png"))
    return stream.getvalue()


OTHERS = {
    "web page": (b"\n<!DOCTYPE html><html>login</html>", "web page .* download button"),
    "JSON": (b'{"error": "Forbidden"}', "it is JSON and not the file itself"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "Git LFS pointer .*git lfs pull"),
    "nothing": (b"", "it is empty; fetch it again"),
    "gzip": (gzip.compress(b"tiles" * 99), "packed as gzip: unpack it first"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(99), "packed as 7z"),
    "tar": (tar(), "packed as tar"),
}


READERS: dict[str, Callable[[str], object]] = {
    "tiles.zip": open_tree,
    "tiles.npz": lambda path: open_medmnist(MedMNIST(path=path), seed=0),
    **dict.fromkeys(
        ("model.pt2", "model.pt", "model.safetensors", "model.onnx"), lambda path: open_model(path, ())
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", READERS)
def test_every_reader_says_what_it_was_given(name: str, kind: str, tmp_path: Path) -> None:
    content, message = OTHERS[kind]
    (tmp_path / name).write_bytes(content)
    if name.endswith("onnx"):
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    with pytest.raises((OSError, ValueError), match=message):
        READERS[name](str(tmp_path / name))


def test_a_file_of_torch_save_is_no_program_and_says_what_to_give(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "state.pt")
    with pytest.raises(ValueError, match=r"written by torch\.save, which stores no program; .* --weights"):
        open_model(str(tmp_path / "state.pt"), ())


def test_an_image_that_is_none_says_what_it_is() -> None:
    for content, message in ((OTHERS["web page"][0], "web page"), (bytes(128) + b"DICM" + bytes(9), "but DICOM")):
        with pytest.raises(UnreadableImage, match=f"not an image.*{message}.*supported: PNG"):
            decode(content, 8)


def test_binary_files_are_not_taken_for_text() -> None:
    lengths = (np.uint64(ord("<")).tobytes(), np.uint64(0x227B).tobytes())  # safetensors whose length looks like text
    assert [describe_other_file(each + b"{") for each in lengths] == [None, None]
