"""Artifacts by content key, and runs by name, under one root on any pyarrow filesystem.

An artifact is a directory ``artifacts/<kind>/<key>/``. Its ``_manifest.json`` is written last: without one the artifact
does not exist, whatever else lies in the directory. Files appear complete or not at all.
"""

import json
import os
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

MANIFEST = "_manifest.json"
_KEY = re.compile(r"^[0-9a-f]{8,64}$")


class StoreError(OSError):
    """The store cannot be read or written; the message says where and what to do."""


@dataclass(frozen=True)
class Store:
    """One root directory or bucket prefix. Small and picklable: workers get it as it is.

    Parameters
    ----------
    filesystem
        Any pyarrow filesystem.
    root
        The path on it under which everything lives.
    """

    filesystem: pafs.FileSystem
    root: str

    @classmethod
    def open(cls, location: str) -> "Store":
        """Open a store at a local path or at a URI that pyarrow knows (``s3://``, ``gs://``, ``file://``)."""
        if "://" in location:
            filesystem, root = pafs.FileSystem.from_uri(location)
        else:
            filesystem, root = pafs.LocalFileSystem(), str(Path(location).expanduser().resolve())
        return cls(filesystem, root.rstrip("/"))

    def __hash__(self) -> int:
        """Of what two equal stores have in common; filesystems themselves cannot be hashed."""
        return hash((self.filesystem.type_name, self.root))

    @property
    def is_local(self) -> bool:
        """Whether files are on a disk of this machine (or mounted on it)."""
        return bool(self.filesystem.type_name == "local")

    def path(self, relative: str) -> str:
        """The full path of a file of the store; refuses to leave the root."""
        parts = PurePosixPath(relative).parts
        if not parts or ".." in parts or PurePosixPath(relative).is_absolute():
            raise ValueError(f"path {relative!r} leaves the store {self.root}")
        return f"{self.root}/{relative}"

    def exists(self, relative: str) -> bool:
        """Whether a complete file is there."""
        return bool(self.filesystem.get_file_info(self.path(relative)).type == pafs.FileType.File)

    def list_files(self, relative: str) -> list[str]:
        """Names of the complete files directly in a directory, sorted; empty if there is no such directory."""
        selector = pafs.FileSelector(self.path(relative), allow_not_found=True)
        infos = self.filesystem.get_file_info(selector)
        return sorted(i.base_name for i in infos if i.is_file and not i.base_name.startswith(".tmp-"))

    def list_directories(self, relative: str) -> list[str]:
        """Names of the directories directly in a directory, sorted; empty if there is no such directory."""
        infos = self.filesystem.get_file_info(pafs.FileSelector(self.path(relative), allow_not_found=True))
        return sorted(i.base_name for i in infos if i.type == pafs.FileType.Directory)

    def read_bytes(self, relative: str) -> bytes:
        """The whole content of a file."""
        with self.filesystem.open_input_stream(self.path(relative)) as stream:
            return bytes(stream.read())

    def write_bytes(self, relative: str, data: bytes) -> None:
        """Write a file so that it appears whole or not at all, and survives a crash once this returns.

        Raises
        ------
        StoreError
            If the disk is full, the directory is not writable or the object store refuses.
        """
        target = self.path(relative)
        try:
            if self.is_local:
                _write_local(Path(target), data)
            else:  # an object appears when its upload is completed
                with self.filesystem.open_output_stream(target) as stream:
                    stream.write(data)
        except OSError as error:
            raise StoreError(
                f"cannot write {target} ({len(data):,} bytes): {error.strerror or error}; free space or choose another "
                "`storage`, then run again: finished work is kept"
            ) from error

    def read_table(self, relative: str, columns: list[str] | None = None) -> pa.Table:
        """A Parquet file as a table."""
        return pq.read_table(self.path(relative), columns=columns, filesystem=self.filesystem, partitioning=None)

    def write_table(self, relative: str, table: pa.Table) -> int:
        """Write a table as one Parquet file, whole or not at all; returns its size in bytes."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        data = sink.getvalue().to_pybytes()
        self.write_bytes(relative, data)
        return len(data)

    def read_json(self, relative: str) -> Any:
        """A JSON file's content."""
        return json.loads(self.read_bytes(relative))

    def write_json(self, relative: str, value: Any) -> None:
        """Write a value as JSON, whole or not at all."""
        self.write_bytes(relative, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())

    def remove(self, relative: str) -> None:
        """Delete a file or a whole directory; nothing happens if it is not there."""
        path = self.path(relative)
        match self.filesystem.get_file_info(path).type:
            case pafs.FileType.File:
                self.filesystem.delete_file(path)
            case pafs.FileType.Directory:
                self.filesystem.delete_dir(path)

    def artifact(self, kind: str, key: str) -> str:
        """The directory of an artifact, relative to the root."""
        if not _KEY.match(key):
            raise ValueError(f"key {key!r} of a {kind} is not a content key (8 to 64 hexadecimal digits)")
        return f"artifacts/{kind}/{key}"

    def manifest(self, kind: str, key: str) -> dict[str, Any] | None:
        """What an artifact says of itself, or None if it does not exist (yet)."""
        path = f"{self.artifact(kind, key)}/{MANIFEST}"
        return self.read_json(path) if self.exists(path) else None

    def publish(self, kind: str, key: str, manifest: dict[str, Any]) -> None:
        """Make an artifact exist: everything else of it must have been written before."""
        self.write_json(f"{self.artifact(kind, key)}/{MANIFEST}", {"kind": kind, "key": key, **manifest})

    def shards(self, kind: str, key: str, part: str = "") -> list[str]:
        """Paths of an artifact's Parquet files, in order, relative to the root."""
        directory = f"{self.artifact(kind, key)}/{part}".rstrip("/")
        return [f"{directory}/{name}" for name in self.list_files(directory) if name.endswith(".parquet")]

    def iter_tables(self, kind: str, key: str, part: str = "", columns: list[str] | None = None) -> Iterator[pa.Table]:
        """An artifact's Parquet files one after the other."""
        for path in self.shards(kind, key, part):
            yield self.read_table(path, columns)


def _write_local(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".tmp-{uuid.uuid4().hex}-{target.name}")
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
