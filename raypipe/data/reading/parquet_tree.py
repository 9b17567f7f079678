"""Parquet files of images as a tree with one file for each row."""

import hashlib
import re
import threading
from collections.abc import Collection, Iterator, MutableMapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from raypipe.data.reading.listed import is_hidden
from raypipe.data.reading.tree import UNREADABLE, DirectoryTree, FileEntry, build_cache_key, resolve
from raypipe.data.source import Split

ROWS = 10_000_000
"""Largest number of rows of a file. More are rejected from its footer alone."""
ROW_GROUP = 2**30
"""Largest size in bytes of the images of a row group, which is unpacked as a whole. The library `datasets` writes 100
rows in each."""
CHUNK = 2**22
"""Number of bytes that are hashed at a time."""
SIDES: dict[str, Split] = {"train": "train", "val": "train", "valid": "train", "validation": "train", "dev": "train",
                           "test": "test"}  # fmt: skip
"""Side by the name of a split in `datasets`, which occurs in the name of a file or of its folder."""


class ParquetTree:
    """Rows of Parquet files, named FILE/ROW or, if the image has a name, FILE/ROW/NAME."""

    def __init__(self, location: str, filesystem: fs.FileSystem, root: str, only: str | None, image: str) -> None:
        """Store the place of the files. Nothing is read yet.

        Parameters
        ----------
        location, filesystem, root
            Location of the folder, its filesystem and its path there.
        only
            Name of the only file in it to read. None reads all.
        image
            Column of images: binary, or a struct with `bytes` and perhaps `path`, as `datasets` writes it.
        """
        self.location, self.image = location, image
        self._place = (location, filesystem, root, only, image)
        self._filesystem, self._root, self._only = filesystem, root, only
        self._lock = threading.Lock()
        self._known: frozenset[str] | None = None
        self._file: tuple[str, pq.ParquetFile] | None = None
        self._images: tuple[str, int, pa.ChunkedArray] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # Open files cannot be sent to a worker, so each process opens its own.
        return ParquetTree, self._place

    def names(self) -> list[str]:
        """List the Parquet files, sorted."""
        return [entry.path for entry in self._list_entries()]

    def list_files(self) -> list[FileEntry]:
        """List every row of every file. The size is 0, because it is unknown before the row is read."""
        return [FileEntry(path, 0, "") for name in self.names() for path, _ in self.rows(name, ())]

    def schema(self, name: str) -> pa.Schema:
        """Return the columns of a file with the metadata of `datasets`.

        Raises
        ------
        ValueError
            If the file is not Parquet.
        """
        with self._lock:
            return self._open(name).schema_arrow

    def rows(self, name: str, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the path of every row of a file, with its values in some columns other than the image.

        Raises
        ------
        ValueError
            If the file is not Parquet, is damaged, lacks a column, or has too many rows.
        """
        with self._lock:
            file = self._open(name)
            self._require_columns(file, name, columns)
            named = self._is_named(file)
            try:
                table = file.read(columns=[*columns, *([f"{self.image}.path"] if named else [])])
            except (pa.ArrowException, OSError) as error:
                raise ValueError(f"{self.location}/{name}: cannot be read: {error}; download it again") from error
            count = file.metadata.num_rows
        paths = (each["path"] if each else None for each in table[self.image].to_pylist()) if named else [None] * count
        values = [table[column].to_pylist() for column in columns]
        for row, (path, *found) in enumerate(zip(paths, *values, strict=True)):
            yield _name_row(name, row, path), dict(zip(columns, found, strict=True))

    def read(self, path: str) -> bytes:
        """Return the image of one row, or raise OSError."""
        with self._lock:
            name, row = self._parse(path)
            try:
                image, label = self._read_image(name, row)
            except (pa.ArrowException, ValueError) as error:
                raise OSError(f"{path}: cannot be read: {error}") from error
        if _name_row(name, row, label) != path:
            raise FileNotFoundError(f"{path}: not in {self.location}")
        if image is None:
            raise OSError(f"{path}: the row has no image")
        return image

    def compute_digests(self, paths: Collection[str], cache: MutableMapping[str, str] | None = None) -> dict[str, str]:
        """Return the SHA-256 of each row's file, with the row's number. Files that `cache` knows are not read."""
        cache = {} if cache is None else cache
        rows = {path: (match["file"], int(match["row"])) for path in paths if (match := _ROW.match(path))}
        names = {name for name, _ in rows.values()}
        digests: dict[str, str] = {}
        for entry in self._list_entries():
            if entry.path in names:
                key = build_cache_key(self.location, entry)
                if key not in cache or not entry.stamp:
                    cache[key] = self._compute_digest(entry.path)
                digests[entry.path] = cache[key]
        found = {path: f"{digests[name]}:{row}" for path, (name, row) in rows.items() if name in digests}
        return {path: found.get(path, UNREADABLE) for path in paths}

    def _list_entries(self) -> list[FileEntry]:
        if self._only is not None:
            about = self._filesystem.get_file_info(f"{self._root}/{self._only}")
            return [FileEntry(self._only, about.size or 0, str(about.mtime_ns or ""))]
        listed = DirectoryTree(self.location, self._filesystem, self._root).list_files()
        return [entry for entry in listed if entry.path.endswith(".parquet") and not is_hidden(entry.path)]

    def _compute_digest(self, name: str) -> str:
        digest = hashlib.sha256()
        with self._filesystem.open_input_file(f"{self._root}/{name}") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def _open(self, name: str) -> pq.ParquetFile:
        if self._file is None or self._file[0] != name:
            try:
                file = pq.ParquetFile(self._filesystem.open_input_file(f"{self._root}/{name}"))
            except (pa.ArrowException, OSError) as error:
                raise ValueError(f"{self.location}/{name}: not a Parquet file ({error}); download it again") from error
            if file.metadata.num_rows > ROWS:
                raise ValueError(f"{self.location}/{name}: {file.metadata.num_rows:,} rows, more than {ROWS:,}")
            self._file = (name, file)
        return self._file[1]

    def _require_columns(self, file: pq.ParquetFile, name: str, columns: Sequence[str]) -> None:
        there = file.schema_arrow.names
        if missing := [column for column in (self.image, *columns) if column not in there]:
            raise ValueError(
                f"{self.location}/{name}: no column {', '.join(missing)}; there are {', '.join(there) or 'none'}"
            )
        kind = file.schema_arrow.field(self.image).type
        holds = kind.field("bytes").type if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
        if not (pa.types.is_binary(holds) or pa.types.is_large_binary(holds)):
            raise ValueError(
                f"{self.location}/{name}: column {self.image} holds {kind}; expected binary, or a struct with bytes"
            )

    def _is_named(self, file: pq.ParquetFile) -> bool:
        kind = file.schema_arrow.field(self.image).type
        return bool(pa.types.is_struct(kind) and kind.get_field_index("path") >= 0)

    def _parse(self, path: str) -> tuple[str, int]:
        if self._known is None:
            self._known = frozenset(self.names())
        match = _ROW.match(path)
        if match is None or match["file"] not in self._known:
            raise FileNotFoundError(f"{path}: not in {self.location}")
        return match["file"], int(match["row"])

    def _read_image(self, name: str, row: int) -> tuple[bytes | None, str | None]:
        file = self._open(name)
        self._require_columns(file, name, ())
        first = 0
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            if row < first + group.num_rows:
                value = self._read_row_group(file, name, number)[row - first].as_py()
                return (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
            first += group.num_rows
        raise FileNotFoundError(f"{name}: no row {row}")

    def _read_row_group(self, file: pq.ParquetFile, name: str, number: int) -> pa.ChunkedArray:
        """Return the images of a row group. The last one is cached, because rows are read in order."""
        if self._images is None or self._images[:2] != (name, number):
            group = file.metadata.row_group(number)
            columns = (group.column(each) for each in range(group.num_columns))
            size = sum(
                each.total_uncompressed_size for each in columns if each.path_in_schema.split(".")[0] == self.image
            )
            if size > ROW_GROUP:
                raise ValueError(
                    f"row group {number} of {name} holds {size:,} bytes of images, more than {ROW_GROUP:,}; write the "
                    "file with row_group_size=100"
                )
            images = file.read_row_group(number, columns=[self.image])[self.image]
            if len(images) != group.num_rows:
                raise ValueError(
                    f"row group {number} of {name} has {len(images)} rows, not the {group.num_rows} that its metadata "
                    "states; download the file again"
                )
            self._images = (name, number, images)
        return self._images[2]


_ROW = re.compile(r"(?P<file>.+\.parquet)/(?P<row>\d{7})(?:/[^/]+)?\Z", re.DOTALL)


def _name_row(name: str, row: int, image: str | None) -> str:
    base = PurePosixPath(image or "").name
    return f"{name}/{row:07}/{base}" if base not in ("", "..") else f"{name}/{row:07}"


def contains_parquet(location: str) -> bool:
    """Return True for a Parquet file, or a directory that contains some."""
    location, filesystem, root = resolve(location)
    kind = filesystem.get_file_info(root).type
    if kind == fs.FileType.Directory:
        return any(entry.path.endswith(".parquet") for entry in DirectoryTree(location, filesystem, root).list_files())
    return bool(kind == fs.FileType.File and root.endswith(".parquet"))


def open_parquet_tree(location: str, image: str) -> ParquetTree:
    """Open a Parquet file or a directory of Parquet files.

    Parameters
    ----------
    location
        See `raypipe.data.reading.tree.open_tree`.
    image
        Column of images.

    Raises
    ------
    FileNotFoundError
        If there is no Parquet file.
    ValueError
        If the scheme of the URI is unknown.
    """
    if not contains_parquet(location):
        raise FileNotFoundError(f"{location}: expected a .parquet file, or a directory with some in it; found none")
    location, filesystem, root = resolve(location)
    if filesystem.get_file_info(root).type == fs.FileType.Directory:
        return ParquetTree(location, filesystem, root, None, image)
    folder, _, only = root.rpartition("/")
    return ParquetTree(location.rpartition("/")[0], filesystem, folder, only, image)


def find_official_side(name: str) -> Split | None:
    """Return the side that the name of a file or its folder gives, or None.

    Names are those of `datasets`, such as train-00000-of-00002.parquet or test/0.parquet.
    """
    words = [re.split(r"[-_.]", part)[0] for part in reversed(PurePosixPath(name).parts)]
    return next((SIDES[word] for word in words if word in SIDES), None)
