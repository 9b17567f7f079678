"""Folders and archives that try to lead out of the data set, to loop, to block or to grow."""

import os
import socket
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raypipe.data.reading.png import encode_png
from raypipe.data.reading.tree import LINKS, open_tree, read_location
from raypipe.data.sources import open_source
from raypipe.data.sources.folder import Folder
from raypipe.data.tiles import TileItem, make_tiles

TILE = encode_png(np.full((8, 8, 3), 90, np.uint8))
posix = pytest.mark.skipif(os.name != "posix", reason="links, pipes and devices are made another way here")


def class_folders(root: Path) -> Path:
    for name in ("benign", "cancer"):
        (root / name).mkdir(parents=True)
        (root / name / "1.png").write_bytes(TILE)
    return root


def paths(root: Path) -> list[str]:
    return [entry.path for entry in open_tree(str(root)).list_files()]


def reasons(root: Path) -> dict[str, str]:
    """Return the reason for every file that gives no tile."""
    source = open_source(Folder(path=str(root)), seed=0)
    refs = source.list()
    tiles, rejected = make_tiles(source, [TileItem(ref, "train") for ref in refs if ref.problem is None], 32)
    assert tiles.num_rows == 2
    aside = {ref.path: ref.problem for ref in refs if ref.problem is not None}
    return aside | {row["source_path"]: row["reason"] for row in rejected.to_pylist()}


@posix
@pytest.mark.timeout(60)
def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "tiles")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "2.png").write_bytes(TILE)
    (root / "cancer" / "more").symlink_to(tmp_path / "more")
    (root / "cancer" / "up").symlink_to(root)
    (root / "cancer" / "itself").symlink_to(root / "cancer" / "itself")
    (root / "cancer" / "nowhere.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "more" / "back").symlink_to(root / "cancer")
    assert paths(root) == [
        "benign/1.png", "cancer/1.png", "cancer/itself", "cancer/more/2.png", "cancer/nowhere.png",
    ]  # fmt: skip


@posix
@pytest.mark.timeout(60)
def test_folders_that_all_link_to_each_other_are_refused(tmp_path: Path) -> None:
    folders = [tmp_path / f"{number}" for number in range(12)]
    for folder in folders:
        folder.mkdir()
        for other in folders:
            (folder / other.name).symlink_to(other)
    with pytest.raises(ValueError, match=f"behind more than {LINKS} links to folders"):
        paths(tmp_path)


@posix
@pytest.mark.timeout(60)
def test_pipes_sockets_and_devices_are_set_aside_and_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = class_folders(tmp_path / "tiles")
    os.mkfifo(root / "cancer" / "pipe.png")
    (root / "cancer" / "zero.png").symlink_to("/dev/zero")
    monkeypatch.chdir(root / "cancer")  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.png")
        found = reasons(root)
    assert set(found) == {"cancer/pipe.png", "cancer/zero.png", "cancer/socket.png"}
    assert all("a pipe, a socket or a device, not a file" in reason for reason in found.values())
    os.mkfifo(tmp_path / "tiles.zip")
    with pytest.raises(ValueError, match=r"expected a directory or a \.zip file"):
        open_tree(str(tmp_path / "tiles.zip"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_location(str(tmp_path / "tiles.zip"))


@posix
def test_a_file_larger_than_any_tile_is_set_aside_unread(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "tiles")
    with (root / "cancer" / "huge.png").open("wb") as file:
        file.truncate(2**40)  # it takes no room on the disk, because it is a hole
    assert reasons(root)["cancer/huge.png"].endswith("bytes, more than 536,870,912")


NAMES = [
    "<img src=x onerror=alert(1)>.png",
    "a\nb.png",
    "a'\"b&.png",
    "$(touch owned).png",
    "%s{0}.png",
    "=1+1.png",
    "-rf.png",
]


@posix
def test_any_name_is_a_name(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "tiles")
    for name in NAMES:
        (root / "cancer" / name).write_bytes(TILE)
    source = open_source(Folder(path=str(root)), seed=0)
    refs = [ref for ref in source.list() if ref.problem is None]
    tiles, rejected = make_tiles(source, [TileItem(ref, "train") for ref in refs], 32)
    assert rejected.num_rows == 0
    assert {f"cancer/{name}" for name in NAMES} < set(tiles["source_path"].to_pylist())
    assert all(name.isalnum() for name in tiles["sample_id"].to_pylist()), "what names stored files is a hash"


def test_members_whose_names_lead_out_are_set_aside(tmp_path: Path) -> None:
    outside = ["../slip.png", "cancer/../../slip.png", "/etc/passwd", "../tiles/cancer/2.png"]
    with zipfile.ZipFile(tmp_path / "tiles.zip", "w") as archive:
        for name in ("benign/1.png", "cancer/1.png", *outside):
            archive.writestr(name, TILE)
    before = sorted(tmp_path.rglob("*"))
    found = reasons(tmp_path / "tiles.zip")
    assert {path for path, reason in found.items() if "leads out of the data set" in reason} == set(outside)
    tree = open_tree(str(tmp_path / "tiles.zip"))
    for name in outside:
        with pytest.raises(PermissionError, match="expected a path below"):
            tree.read(name)
    assert sorted(tmp_path.rglob("*")) == before, "nothing is ever unpacked to disk"


@pytest.mark.parametrize("prefix", ["/", "../"])
def test_an_archive_whose_names_all_lead_out_is_refused(prefix: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "tiles.zip", "w") as archive:
        for name in ("benign/1.png", "cancer/1.png"):
            archive.writestr(prefix + name, TILE)
    with pytest.raises(ValueError, match=f"2 names of its files lead out of the archive, first {prefix}benign/1.png"):
        open_source(Folder(path=str(tmp_path / "tiles.zip")), seed=0)


def test_an_encrypted_archive_says_so(tmp_path: Path) -> None:
    path = tmp_path / "tiles.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/1.png", TILE)
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(mark) + place] |= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match=r"^a/1\.png: encrypted; expected an archive without a password"):
        open_tree(str(path)).read("a/1.png")


def claim(data: bytes, size: int, claimed: int) -> bytes:
    """Return an archive whose only member declares a wrong size."""
    return data.replace(size.to_bytes(4, "little"), claimed.to_bytes(4, "little"))


def test_a_member_is_unpacked_no_further_than_it_says(tmp_path: Path) -> None:
    size, path = 64 * 2**20, tmp_path / "tiles.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a/bomb.png", bytes(size))
    path.write_bytes(claim(path.read_bytes(), size, 1000))
    tree = open_tree(str(path))
    tracemalloc.start()
    try:
        with pytest.raises(OSError, match="Bad CRC-32"):
            tree.read("a/bomb.png")
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_whose_unpacking_has_no_bound_is_not_unpacked(method: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "tiles.zip", "w", method) as archive:
        archive.writestr("a/1.png", TILE)
    with pytest.raises(OSError, match=r"packed by .*; expected deflate"):
        open_tree(str(tmp_path / "tiles.zip")).read("a/1.png")


def test_a_member_that_would_be_larger_than_any_tile_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "tiles.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/bomb.png", bytes(1_234_567))
    path.write_bytes(claim(path.read_bytes(), 1_234_567, 2**32 - 2))
    with pytest.raises(OSError, match="too large: 4,294,967,294 bytes"):
        open_tree(str(path)).read("a/bomb.png")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = tmp_path_factory.mktemp("archives") / "tiles.zip"
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path, "w") as made:
        for method in methods:
            made.writestr(f"{method}/ü.png", TILE * 3, method)
    return path, path.read_bytes()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_archive_gives_its_files_or_is_refused(archive: tuple[Path, bytes], data: st.DataObject) -> None:
    path, whole = archive
    made = bytearray(whole[: data.draw(st.integers(0, len(whole)) | st.just(len(whole)))])
    for place in data.draw(st.lists(st.integers(0, max(0, len(made) - 1)), max_size=4)) if made else []:
        made[place] = data.draw(st.integers(0, 255))
    path.write_bytes(made)
    try:
        tree = open_tree(str(path))
    except OSError as error:
        assert "not a readable zip archive" in str(error)  # noqa: PT017 - most are refused
        return
    for entry in tree.list_files():
        try:
            tree.read(entry.path)
        except OSError as error:
            assert str(error)  # noqa: PT017
