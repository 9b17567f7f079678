"""Artifacts by content key, and runs by name, under one root on any pyarrow filesystem.

An artifact is a directory ``artifacts/<kind>/<key>/``. Its ``_manifest.json`` is written last: without it the artifact
does not exist, whatever else is in the directory. Files appear complete or not at all.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs

from raypipe.storage.errors import describe_damage, explain_errors
from raypipe.storage.filesystems import open_filesystem
from raypipe.storage.local_writes import TEMPORARY, write_local
from raypipe.storage.records import encode_record, strip_format
from raypipe.storage.tables import (
    IMAGE_COLUMN,
    decode_summary,
    encode_summary,
    encode_table,
    read_parquet,
    read_parquet_schema,
)

MANIFEST = "_manifest.json"
SUMMARY = "_summary.arrow"
"""File of an artifact with the rows of all its shards, without images. Results are computed from it: one file is read
for each cell instead of one for each shard. Readers of a folder of Parquet files skip a name with an underscore."""
SUMMARY_FACT = "summary"
"""Fact of a manifest that is true if the artifact has a `SUMMARY`. An older raypipe wrote none."""
QUESTIONS_AT_ONCE = 32
"""Number of concurrent requests of `Store.ask_all`. Each is a thread that waits."""
T = TypeVar("T")
R = TypeVar("R")
_KEY = re.compile(r"^[0-9a-f]{8,64}\Z")


@dataclass(frozen=True)
class StoredFile:
    """A file of a store: its path relative to the root, its size in bytes, and the time of its last change.

    The time is in seconds since 1970.
    """

    path: str
    size: int
    changed: float

    @property
    def is_temporary(self) -> bool:
        """True if its writing has not finished."""
        return PurePosixPath(self.path).name.startswith(TEMPORARY)


@dataclass(frozen=True)
class Store:
    """One root directory or bucket prefix. It is small and can be pickled: workers get the store itself.

    Parameters
    ----------
    filesystem
        Any pyarrow filesystem.
    root
        Path on it that contains all files of the store.
    """

    filesystem: pafs.FileSystem
    root: str

    @classmethod
    def open(cls, location: str) -> "Store":
        """Open a store at a local path or URI, see `raypipe.storage.filesystems.open_filesystem`.

        Raises
        ------
        StoreError
            If the location cannot be reached.
        ValueError
            If the location is invalid or contains credentials.
        """
        with explain_errors("open", location):
            filesystem, root = open_filesystem(location)
        return cls(filesystem, root.rstrip("/"))

    def __hash__(self) -> int:
        """Hash the properties that equal stores share, because filesystems cannot be hashed."""
        return hash((self.filesystem.type_name, self.root))

    @property
    def is_local(self) -> bool:
        """True if files are on a disk of this machine, or mounted on it."""
        return bool(self.filesystem.type_name == "local")

    def path(self, relative: str) -> str:
        """Return the full path of a file of the store. Raise ValueError if it is outside the root."""
        if not relative.strip("./") or relative.startswith("/") or ".." in relative.split("/"):
            raise ValueError(f"path {relative!r} leaves the store {self.root}")
        return f"{self.root}/{relative}"

    def exists(self, relative: str) -> bool:
        """Return True if the file exists. A file that exists is complete."""
        with explain_errors("look for", path := self.path(relative)):
            if self.is_local:
                return bool(self.filesystem.get_file_info(path).type == pafs.FileType.File)
            try:  # one request to an object store, where `get_file_info` also looks for a folder
                self.filesystem.open_input_file(path).close()
            except FileNotFoundError:
                return False
            return True

    def list_files(self, relative: str) -> list[str]:
        """List the names of the complete files directly in a directory, sorted. A missing directory has none."""
        return sorted(i.base_name for i in self._list(relative) if i.is_file and not i.base_name.startswith(TEMPORARY))

    def list_directories(self, relative: str) -> list[str]:
        """List the names of the directories directly in a directory, sorted. A missing directory has none."""
        return sorted(i.base_name for i in self._list(relative) if i.type == pafs.FileType.Directory)

    def _list(self, relative: str) -> list[pafs.FileInfo]:
        with explain_errors("list", path := self.path(relative)):
            infos: list[pafs.FileInfo] = self.filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True))
            return infos

    def list_tree(self, relative: str = "") -> list[StoredFile]:
        """List all files of the store or a directory, also unfinished ones, sorted by path. A missing one has none."""
        with explain_errors("list", path := self.path(relative) if relative else self.root):
            everything = pafs.FileSelector(path, allow_not_found=True, recursive=True)
            infos = self.filesystem.get_file_info(everything)
        start = len(self.root.rstrip("/")) + 1
        files = [StoredFile(i.path[start:], i.size or 0, (i.mtime_ns or 0) / 1e9) for i in infos if i.is_file]
        return sorted(files, key=lambda file: file.path)

    def read_bytes(self, relative: str) -> bytes:
        """Return the whole content of a file."""
        with explain_errors("read", path := self.path(relative)):
            if self.is_local:
                return Path(path).read_bytes()
            with self.filesystem.open_input_stream(path) as stream:
                return bytes(stream.read())

    def write_bytes(self, relative: str, data: bytes) -> None:
        """Write a file so that it appears complete or not at all, and survives a crash once this returns.

        Raises
        ------
        StoreError
            If the disk is full, the directory is not writable or the object store refuses.
        """
        target = self.path(relative)
        with explain_errors("write", target, f" ({len(data):,} bytes)"):
            if self.is_local:
                write_local(Path(target), data)
            else:  # an object appears when its upload is completed
                with self.filesystem.open_output_stream(target) as stream:
                    stream.write(data)

    def add_bytes(self, relative: str, data: bytes) -> bool:
        """Write a file as `write_bytes` does, unless it exists, and return True if it was written.

        If two runs write one file of an artifact at the same time, the first one counts. An object store cannot decide
        that: there the later of two simultaneous writers counts.
        """
        if self.exists(relative):
            return False
        if not self.is_local:
            self.write_bytes(relative, data)
            return True
        target = self.path(relative)
        with explain_errors("write", target, f" ({len(data):,} bytes)"):
            return write_local(Path(target), data, replace=False)

    def read_table(self, relative: str, columns: list[str] | None = None, schema: pa.Schema | None = None) -> pa.Table:
        """Read a Parquet file, or some of its columns, as a table.

        Raises
        ------
        StoreError
            If the file is damaged, lacks a column, or has a column of another type than `schema`.
        """
        return read_parquet(self.filesystem, self.path(relative), columns, schema)

    def read_rows(self, relative: str) -> pa.Table:
        """Read all columns of a Parquet file except the images. Raise the errors of `read_table`."""
        return self.read_table(relative, [name for name in self.read_schema(relative).names if name != IMAGE_COLUMN])

    def read_schema(self, relative: str) -> pa.Schema:
        """Return the schema of a Parquet file from its footer alone. Raise the errors of `read_table`."""
        return read_parquet_schema(self.filesystem, self.path(relative))

    def write_table(self, relative: str, table: pa.Table) -> int:
        """Write a table as one Parquet file, complete or not at all, and return its size in bytes."""
        data = encode_table(table)
        self.write_bytes(relative, data)
        return len(data)

    def add_table(self, relative: str, table: pa.Table) -> bool:
        """Write a table as one Parquet file unless the file exists, and return True if it was written."""
        return self.add_bytes(relative, encode_table(table))

    def write_summary(self, kind: str, key: str, table: pa.Table) -> None:
        """Write the rows of all shards of an artifact as one file. `drop_images` removes what they must not have."""
        self.write_bytes(f"{self.artifact(kind, key)}/{SUMMARY}", encode_summary(table))

    def read_summary(
        self, kind: str, key: str, columns: list[str] | None = None, schema: pa.Schema | None = None
    ) -> pa.Table:
        """Read the rows of all shards of an artifact from the file that `write_summary` wrote.

        Raises
        ------
        StoreError
            If the file is damaged, lacks a column, or has a column of another type than `schema`.
        """
        path = f"{self.artifact(kind, key)}/{SUMMARY}"
        return decode_summary(self.read_bytes(path), self.path(path), columns, schema)

    def read_json(self, relative: str) -> Any:
        """Return the content of a JSON file. Raise StoreError if it is not JSON."""
        try:
            return json.loads(self.read_bytes(relative))
        except (ValueError, RecursionError) as error:
            raise describe_damage(self.path(relative), f"not JSON ({error})") from error

    def write_json(self, relative: str, value: Any) -> None:
        """Write a value as JSON, complete or not at all."""
        self.write_bytes(relative, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())

    def read_record(self, relative: str) -> dict[str, Any]:
        """Return a record that `write_record` wrote.

        Raises
        ------
        StoreError
            If a newer raypipe wrote it in a format that this one does not know, or if it is not a record.
        """
        return strip_format(self.read_json(relative), self.path(relative))

    def write_record(self, relative: str, record: dict[str, Any]) -> None:
        """Write a record as JSON, with its format and the version of raypipe."""
        self.write_bytes(relative, encode_record(record))

    def remove(self, relative: str) -> None:
        """Delete a file or a whole directory. Do nothing if it does not exist, or if another run deletes it."""
        with suppress(FileNotFoundError), explain_errors("remove", path := self.path(relative)):
            match self.filesystem.get_file_info(path).type:
                case pafs.FileType.File:
                    self.filesystem.delete_file(path)
                case pafs.FileType.Directory:
                    self.filesystem.delete_dir(path)

    def move(self, relative: str, target: str) -> None:
        """Move a file or a whole directory of a local store at once. What the target has is left alone."""
        with explain_errors("move", path := self.path(relative)):
            place = Path(self.path(target))
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists():  # a run has computed it again meanwhile
                self.filesystem.delete_dir(path)
            else:
                Path(path).rename(place)

    def ask_all(self, question: Callable[[T], R], about: Iterable[T]) -> list[R]:
        """Return the results of a function for many arguments, in their order.

        An object store has a high latency, so its requests run concurrently.
        """
        if self.is_local:
            return list(map(question, about))
        with ThreadPoolExecutor(QUESTIONS_AT_ONCE) as pool:
            return list(pool.map(question, about))

    def artifact(self, kind: str, key: str) -> str:
        """Return the directory of an artifact, relative to the root."""
        if not _KEY.match(key):
            raise ValueError(f"key {key!r} of a {kind} is not a content key (8 to 64 hexadecimal digits)")
        return f"artifacts/{kind}/{key}"

    def manifest(self, kind: str, key: str) -> dict[str, Any] | None:
        """Return the manifest of an artifact, or None if it does not exist (yet)."""
        try:  # one request to an object store, without a test for existence first
            return self.read_record(f"{self.artifact(kind, key)}/{MANIFEST}")
        except FileNotFoundError:
            return None

    def publish(self, kind: str, key: str, manifest: dict[str, Any]) -> None:
        """Publish an artifact by writing its manifest. All its other files must have been written before.

        An artifact that another run has published meanwhile stays as it is, because that run may have used it already.
        """
        text = encode_record({"kind": kind, "key": key, **manifest})
        self.add_bytes(f"{self.artifact(kind, key)}/{MANIFEST}", text)

    def shards(self, kind: str, key: str, part: str = "") -> list[str]:
        """Return the paths of an artifact's Parquet files, in order, relative to the root."""
        directory = f"{self.artifact(kind, key)}/{part}".rstrip("/")
        return [f"{directory}/{name}" for name in self.list_files(directory) if name.endswith(".parquet")]

    def iter_tables(
        self, kind: str, key: str, part: str = "", columns: list[str] | None = None, schema: pa.Schema | None = None
    ) -> Iterator[pa.Table]:
        """Yield the tables of an artifact's Parquet files in order. Raise the errors of `read_table`."""
        for path in self.shards(kind, key, part):
            yield self.read_table(path, columns, schema)
