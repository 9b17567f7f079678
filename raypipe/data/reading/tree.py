"""Read-only trees of files: a directory on any pyarrow filesystem, or a zip archive on one."""

import hashlib
import json
import os
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from pyarrow import fs

from raypipe.base.file_kinds import BEGINNING, describe_other_file

READERS = 16  # threads that hash files; more than cores, as most of the time they wait for storage
LARGEST = 512 * 2**20  # bytes of a file; 100 million pixels of four bytes need less
LINKS = 5  # nested links to folders that are followed; folders that link to each other give endless paths
ENCRYPTED = 1  # bit of a zip member's flags
UNREADABLE = "unreadable"  # digest of an unreadable file: part of the fingerprint, which changes once it can be read


@dataclass(frozen=True)
class FileEntry:
    """A file in the listing of a tree.

    Parameters
    ----------
    path
        Path relative to the tree's root, with forward slashes.
    size
        Size in bytes.
    stamp
        Value that changes when the file does: the modification time in a directory ("" if the filesystem stores none),
        the CRC-32 in a zip archive.
    """

    path: str
    size: int
    stamp: str


class Tree(Protocol):
    """Files below one root. It can be pickled."""

    @property
    def location(self) -> str:
        """Location of the root: an absolute local path or a URI."""

    def list_files(self) -> Sequence[FileEntry]:
        """List every file, including hidden ones, sorted by path."""

    def read(self, path: str) -> bytes:
        """Return the bytes of one file, or raise OSError."""

    def compute_digests(self, paths: Collection[str], cache: MutableMapping[str, str] | None = None) -> dict[str, str]:
        """Return a digest of the content by path. `cache` stores the digests of files that were read before."""


@dataclass(frozen=True)
class DirectoryTree:
    """A directory on a pyarrow filesystem."""

    location: str
    filesystem: fs.FileSystem
    root: str

    def list_files(self) -> list[FileEntry]:
        """List every file, including hidden ones, sorted by path."""
        try:
            entries = list(
                _walk(self.root, self.location) if self.filesystem.type_name == "local" else self._list_entries()
            )
        except UnicodeError as error:
            raise ValueError(f"{self.location}: a file name is not UTF-8 ({error}); rename the file") from error
        return sorted(entries, key=lambda entry: entry.path)

    def read(self, path: str) -> bytes:
        """Return the bytes of one file, or raise OSError."""
        _require_inside(path, self.location)
        return _read(self.filesystem, f"{self.root}/{path}")

    def compute_digests(self, paths: Collection[str], cache: MutableMapping[str, str] | None = None) -> dict[str, str]:
        """Return the SHA-256 of each of `paths`. Files that `cache` knows by size and time are not read."""
        cache = {} if cache is None else cache
        entries = {entry.path: entry for entry in self.list_files()}
        keys = {path: build_cache_key(self.location, entries[path]) for path in paths if path in entries}
        unknown = [path for path in paths if keys.get(path) not in cache]
        with ThreadPoolExecutor(READERS) as pool:
            read = dict(zip(unknown, pool.map(self._compute_digest, unknown), strict=True))
        for path, digest in read.items():
            if digest != UNREADABLE and path in keys and entries[path].stamp:
                cache[keys[path]] = digest
        return {path: read[path] if path in read else cache[keys[path]] for path in paths}

    def _list_entries(self) -> Iterator[FileEntry]:
        for info in self.filesystem.get_file_info(fs.FileSelector(self.root, recursive=True)):
            if info.type != fs.FileType.Directory:
                stamp = "" if info.mtime_ns is None else str(info.mtime_ns)
                yield FileEntry(info.path.removeprefix(self.root).lstrip("/"), info.size or 0, stamp)

    def _compute_digest(self, path: str) -> str:
        try:
            return hashlib.sha256(self.read(path)).hexdigest()
        except OSError:
            return UNREADABLE


class ZipTree:
    """A zip archive on a pyarrow filesystem, read in place. A backslash in a name separates folders, as on Windows."""

    def __init__(self, location: str, filesystem: fs.FileSystem, root: str) -> None:
        self.location = location
        self._place = (location, filesystem, root)
        try:
            self._archive = zipfile.ZipFile(filesystem.open_input_file(root))
        except OSError:
            raise
        except Exception as error:  # damaged archives raise BadZipFile, NotImplementedError, pyarrow's ValueError, ...
            raise OSError(f"{location}: not a readable zip archive{explain_damage(filesystem, root, error)}") from error
        # Archivers of Windows write backslashes, although the format demands slashes.
        self._members = {info.filename.replace("\\", "/"): info for info in self._archive.NameToInfo.values()}

    def __reduce__(self) -> tuple[Any, ...]:
        # An open archive cannot be sent to a worker, so each process opens its own.
        return ZipTree, self._place

    def list_files(self) -> list[FileEntry]:
        """List every file, including hidden ones, sorted by path. Of several files with one name, the last counts."""
        entries = [
            FileEntry(name, info.file_size, f"{info.CRC:08x}")
            for name, info in self._members.items()
            if name and not name.endswith("/")
        ]
        return sorted(entries, key=lambda entry: entry.path)

    def read(self, path: str) -> bytes:
        """Return the bytes of one file, or raise OSError."""
        _require_inside(path, self.location)
        try:
            member = self._members[path]
            _require_size(member.file_size, path)
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # With other methods zipfile unpacks all of its input at once, and bzip2 makes gigabytes of 4 kB.
                raise OSError(
                    f"{path}: packed by zip's method {member.compress_type}; expected deflate, as zip packs by default"
                )
            if member.flag_bits & ENCRYPTED:
                raise OSError(
                    f"{path}: encrypted; expected an archive without a password: unpack it, and give the folder"
                )
            with self._archive.open(member) as file:
                return file.read(max(member.file_size, 1))  # unpacks no more than that
        except KeyError:
            raise FileNotFoundError(f"{path}: not in {self.location}") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
            # zipfile raises RuntimeError for flags that it does not know; pyarrow raises ValueError beyond the file.
            raise OSError(f"{path}: {error}") from error

    def compute_digests(self, paths: Collection[str], cache: MutableMapping[str, str] | None = None) -> dict[str, str]:  # noqa: ARG002
        """Return the CRC-32 and size of each of `paths`.

        Both are in the archive's directory, so `cache` is not needed.
        """
        entries = {entry.path: entry for entry in self.list_files()}
        return {
            path: f"crc32:{entries[path].stamp}:{entries[path].size}" if path in entries else UNREADABLE
            for path in paths
        }


def open_tree(location: str) -> Tree:
    """Open a directory or a zip archive.

    Parameters
    ----------
    location
        Local path (`~` is expanded, a relative path starts at the working directory), or a URI that
        `pyarrow.fs.FileSystem.from_uri` understands, such as s3://bucket/tiles or gs://bucket/tiles.zip.

    Raises
    ------
    FileNotFoundError
        If the location does not exist.
    ValueError
        If the scheme of the URI is unknown, or the location is a file but not a zip archive.
    """
    location, filesystem, root = resolve(location)
    kind = filesystem.get_file_info(root).type
    if kind == fs.FileType.Directory:
        return DirectoryTree(location, filesystem, root)
    if kind == fs.FileType.NotFound:
        raise FileNotFoundError(
            f"{location}: not found; expected a directory or a .zip file, as a local path or as a URI such as "
            "s3://bucket/tiles"
        )
    if kind != fs.FileType.File or not root.lower().endswith(".zip"):
        raise ValueError(f"{location}: expected a directory or a .zip file, found another kind of file; unpack it")
    return ZipTree(location, filesystem, root)


def read_location(location: str) -> bytes:
    """Return the bytes of the file at a local path or URI, see `open_tree`. Raise OSError if it cannot be read."""
    location, filesystem, root = resolve(location)
    if filesystem.get_file_info(root).type != fs.FileType.File:
        raise FileNotFoundError(f"{location}: no such file; expected a local path or a URI such as s3://bucket/file")
    return _read(filesystem, root)


def resolve(location: str) -> tuple[str, fs.FileSystem, str]:
    """Return the absolute location, its filesystem, and its path there.

    Raises
    ------
    ValueError
        If the location is not valid.
    """
    if "://" not in location:
        # Absolute, because workers have another working directory.
        try:
            root = Path(location).expanduser().absolute().as_posix()
        except RuntimeError as error:
            raise ValueError(f"{location}: {error} Write the path out") from error
        return root, fs.LocalFileSystem(), root
    try:
        filesystem, root = fs.FileSystem.from_uri(location)
    except ValueError as error:
        raise ValueError(f"{location}: {error}; expected a local path or a URI such as s3://bucket/tiles") from error
    return location, filesystem, root.rstrip("/")


def explain_damage(filesystem: fs.FileSystem, path: str, error: Exception) -> str:
    """Return why a file that should be an archive cannot be read, and the remedy, for the end of a message."""
    with filesystem.open_input_file(path) as file:
        other = describe_other_file(file.read(BEGINNING))
    return f": {other}" if other else f" ({error}); copy or download it again"


def _walk(root: str, location: str) -> Iterator[FileEntry]:
    """Yield every file below a local directory.

    Links to folders are followed unless they lead back to a folder above them.
    """
    waiting: list[tuple[str, tuple[Path, ...]]] = [("", ())]
    while waiting:
        below, behind = waiting.pop()
        with os.scandir(Path(root, below)) as entries:
            for entry in entries:
                path = f"{below}{entry.name}"
                stored = os.fsencode(path).decode("utf-8")  # the name on the disk, whatever the locale is
                about = _read_stat(entry)
                if not stat.S_ISDIR(about.st_mode):
                    yield FileEntry(stored, about.st_size, str(about.st_mtime_ns))
                elif not entry.is_symlink():
                    waiting.append((f"{path}/", behind))
                else:
                    trail, target = (*behind, Path(root, below).resolve()), Path(entry.path).resolve()
                    if any(folder.is_relative_to(target) for folder in trail):
                        continue
                    if len(trail) > LINKS:
                        raise ValueError(
                            f"{location}: {path} lies behind more than {LINKS} links to folders; unlink some"
                        )
                    waiting.append((f"{path}/", trail))


def _read_stat(entry: "os.DirEntry[str]") -> os.stat_result:
    try:
        return entry.stat()
    except OSError:  # a broken link
        return entry.stat(follow_symlinks=False)


def _read(filesystem: fs.FileSystem, path: str) -> bytes:
    if filesystem.type_name == "local" and filesystem.get_file_info(path).type == fs.FileType.Unknown:
        raise OSError(f"{path}: a pipe, a socket or a device, not a file")  # reading it might never end
    with filesystem.open_input_file(path) as file:
        _require_size(file.size(), path)
        data: bytes = file.read()
    return data


def _require_size(size: int, path: str) -> None:
    if size > LARGEST:
        raise OSError(f"{path}: too large: {size:,} bytes, more than {LARGEST:,}")


def is_outside(path: str) -> bool:
    """Return True if a path, joined to a root, could leave it."""
    return PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts


def _require_inside(path: str, location: str) -> None:
    if is_outside(path):
        raise PermissionError(f"{path}: expected a path below {location}, without '..'")


def build_cache_key(location: str, entry: FileEntry) -> str:
    """Return the key of a file in its current state. Another size or time gives another key."""
    return hashlib.sha256(json.dumps([location, entry.path, entry.size, entry.stamp]).encode()).hexdigest()
