"""Directories and zip archives, local and remote."""

import os
import pickle
import zipfile
from pathlib import Path

import fsspec
import pytest
from pyarrow import fs

from raypipe.data.reading.tree import DirectoryTree, Tree, open_tree, read_location

FILES = {
    "b/two.png": b"two",
    "a/one.png": b"one",
    "a/empty.png": b"",
    ".DS_Store": b"finder",
    "__MACOSX/a/._one.png": b"fork",
}


def write_directory(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/", b"")
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def directory_tree(tmp_path: Path) -> Tree:
    return open_tree(str(write_directory(tmp_path / "tiles", FILES)))


def uri_tree(tmp_path: Path) -> Tree:
    return open_tree(write_directory(tmp_path / "tiles", FILES).as_uri() + "/")


def zip_tree(tmp_path: Path) -> Tree:
    return open_tree(str(write_zip(tmp_path / "tiles.zip", FILES)))


def remote_tree(tmp_path: Path) -> Tree:
    remote = fsspec.filesystem("memory", skip_instance_cache=True)
    remote.store = {}
    for name, data in FILES.items():
        remote.pipe(f"/bucket/{name}", data)
    return DirectoryTree("memory://bucket", fs.PyFileSystem(fs.FSSpecHandler(remote)), "/bucket")


TREES = [directory_tree, uri_tree, zip_tree, remote_tree]


@pytest.mark.parametrize("make", TREES)
def test_every_tree_lists_all_files_in_order_and_reads_them(make, tmp_path):
    tree = make(tmp_path)
    entries = tree.list_files()
    assert [entry.path for entry in entries] == sorted(FILES)
    assert {entry.path: entry.size for entry in entries} == {path: len(data) for path, data in FILES.items()}
    assert {path: tree.read(path) for path in FILES} == FILES


@pytest.mark.parametrize("make", TREES)
@pytest.mark.parametrize("path", ["../secret", "a/../../secret", "/etc/passwd"])
def test_no_tree_reads_outside_its_root(make, path, tmp_path):
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(PermissionError, match="expected a path below"):
        make(tmp_path).read(path)


@pytest.mark.parametrize("make", TREES)
def test_a_file_that_is_not_there_is_an_os_error_and_has_a_digest_of_its_own(make, tmp_path):
    tree = make(tmp_path)
    with pytest.raises(OSError):  # noqa: PT011 - every filesystem words it its own way
        tree.read("a/none.png")
    assert tree.compute_digests(["a/none.png"]) == {"a/none.png": "unreadable"}


@pytest.mark.parametrize("make", TREES)
def test_digests_tell_contents_apart(make, tmp_path):
    digests = make(tmp_path).compute_digests(list(FILES))
    assert list(digests) == list(FILES)
    assert len(set(digests.values())) == len(FILES)


@pytest.mark.parametrize("make", [directory_tree, zip_tree])
def test_a_tree_travels_to_a_worker_with_another_working_directory(make, tmp_path, monkeypatch):
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    tree = open_tree("tiles" if make is directory_tree else "tiles.zip")
    tree.read("a/one.png")
    packed = pickle.dumps(tree)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert pickle.loads(packed).read("a/one.png") == b"one"


def test_the_cache_spares_reading_until_a_file_changes(tmp_path):
    root = write_directory(tmp_path / "tiles", FILES)
    tree = open_tree(str(root))
    cache: dict[str, str] = {}
    first = tree.compute_digests(list(FILES), cache)

    # A changed byte with the same size and time is not detected, because only the listing was read.
    one = root / "a/one.png"
    before = one.stat()
    one.write_bytes(b"ONE")
    os.utime(one, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert tree.compute_digests(list(FILES), cache) == first

    os.utime(one, ns=(1, 1))
    second = tree.compute_digests(list(FILES), cache)
    assert {path for path in FILES if second[path] != first[path]} == {"a/one.png"}


def test_an_unreadable_file_is_not_remembered(tmp_path):
    root = write_directory(tmp_path / "tiles", FILES)
    cache: dict[str, str] = {}
    open_tree(str(root)).compute_digests(["a/none.png"], cache)
    assert cache == {}


def test_zip_digests_come_from_its_directory_alone(tmp_path):
    path = write_zip(tmp_path / "tiles.zip", {"a/one.png": b"one" * 1000})
    tree = open_tree(str(path))
    assert tree.compute_digests(["a/one.png"]) == {
        "a/one.png": f"crc32:{zipfile.ZipFile(path).getinfo('a/one.png').CRC:08x}:3000"
    }


def test_a_damaged_member_of_an_archive_is_an_os_error(tmp_path):
    path = tmp_path / "tiles.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a/one.png", b"one one one")
    path.write_bytes(path.read_bytes().replace(b"one one one", b"one two one"))
    with pytest.raises(OSError, match=r"a/one.png: Bad CRC-32"):
        open_tree(str(path)).read("a/one.png")


def test_what_is_no_tree_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: not found; expected a directory or a \.zip"):
        open_tree(str(tmp_path / "nowhere"))
    (tmp_path / "tiles.tar").write_bytes(b"tar")
    with pytest.raises(ValueError, match=r"tiles\.tar: expected a directory or a \.zip file.*unpack it"):
        open_tree(str(tmp_path / "tiles.tar"))
    (tmp_path / "tiles.zip").write_bytes(b"not a zip")
    with pytest.raises(OSError, match=r"tiles\.zip: not a readable zip archive"):
        open_tree(str(tmp_path / "tiles.zip"))
    with pytest.raises(ValueError, match=r"ftp2://host/tiles: .*; expected a local path or a URI"):
        open_tree("ftp2://host/tiles")


@pytest.mark.skipif(os.name != "posix", reason="file names are text here")
def test_a_file_name_that_is_not_text_is_reported(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"a\xff.png")).write_bytes(b"one")
    except OSError:
        pytest.skip("this filesystem takes only names in UTF-8")
    with pytest.raises(ValueError, match="a file name is not UTF-8"):
        open_tree(str(tmp_path)).list_files()


def test_one_file_is_read_by_path_or_uri(tmp_path):
    (tmp_path / "groups.csv").write_bytes(b"filename,group\n")
    assert read_location(str(tmp_path / "groups.csv")) == b"filename,group\n"
    assert read_location((tmp_path / "groups.csv").as_uri()) == b"filename,group\n"
    with pytest.raises(FileNotFoundError, match=r"other\.csv: no such file"):
        read_location(str(tmp_path / "other.csv"))
