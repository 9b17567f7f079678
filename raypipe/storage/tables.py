"""Tables as Parquet and Arrow files, and the demands on a table that was read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from numpy.typing import NDArray

from raypipe.storage.errors import describe_damage, explain_errors

IMAGE_COLUMN = "image"
"""Column that makes up nearly all of the size of a table of tiles."""


def drop_images(table: pa.Table) -> pa.Table:
    """Return a table without its column of images, if it has one."""
    return table.drop_columns([IMAGE_COLUMN]) if IMAGE_COLUMN in table.column_names else table


def require_columns(found: pa.Schema, path: str, columns: list[str] | None, schema: pa.Schema | None) -> None:
    """Require columns, or those of a schema except the images, with the types of the schema."""
    names, wanted = set(found.names), None if columns is None else set(columns)
    for name, expected in zip(schema.names, schema.types, strict=True) if schema else ():
        if wanted is not None and name not in wanted:
            continue
        kind = found.field(name).type if name in names else "missing"
        if kind != expected and (kind != "missing" or name != IMAGE_COLUMN):
            raise describe_damage(path, f"column {name!r} is {kind}, expected {expected}")
    if missing := set(columns or ()) - names:
        raise describe_damage(path, f"column {min(missing)!r} is missing")


def stack_lists(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return a column of lists of the same length as an array (rows, length).

    Raises
    ------
    ValueError
        If the lists differ in length.
    """
    # `column.to_numpy()` would import pandas, and make an array for each row.
    lengths = pc.list_value_length(column).to_numpy()
    if (lengths != lengths[:1]).any():
        raise ValueError(f"lists of {lengths.min()} to {lengths.max()} values: expected lists of the same length")
    values: NDArray[Any] = pc.list_flatten(column).to_numpy()
    return values.reshape(len(column), -1)


def encode_table(table: pa.Table) -> bytes:
    """Return a table as a Parquet file."""
    sink = pa.BufferOutputStream()
    # Images are compressed already and all differ: no codec and no dictionary makes them smaller.
    dictionary = [name for name in table.column_names if name != IMAGE_COLUMN]
    codec = "none" if IMAGE_COLUMN in table.column_names else "zstd"
    pq.write_table(table, sink, compression=codec, use_dictionary=dictionary)
    return bytes(sink.getvalue().to_pybytes())


def read_parquet(
    filesystem: pafs.FileSystem, path: str, columns: list[str] | None, schema: pa.Schema | None
) -> pa.Table:
    """Read a Parquet file, or some of its columns, as a table.

    Raises
    ------
    raypipe.storage.errors.StoreError
        If the file is damaged, lacks a column, or has a column of another type than `schema`.
    """
    # pq.read_table takes twice the time for small files, but reports a missing column itself
    with (
        explain_errors("read", path),
        _require_parquet(filesystem, path),
        pq.ParquetFile(path, filesystem=filesystem) as file,
    ):
        table = file.read(columns=columns)
        table.validate(full=True)
    require_columns(table.schema, path, columns, schema)
    return table


def read_parquet_schema(filesystem: pafs.FileSystem, path: str) -> pa.Schema:
    """Return the schema of a Parquet file from its footer alone. Raise the errors of `read_parquet`."""
    with explain_errors("read", path), _require_parquet(filesystem, path):
        return pq.read_schema(path, filesystem=filesystem)


@contextmanager
def _require_parquet(filesystem: pafs.FileSystem, path: str) -> Iterator[None]:
    """Distinguish a file that is not Parquet from one that cannot be reached."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (ValueError, pa.ArrowException) as error:
        raise describe_damage(path, str(error).partition("\n")[0]) from error
    except OSError as error:
        # Parquet's reader raises OSError for a footer that it cannot read. OSErrors of a local disk always have an
        # errno.
        if filesystem.type_name == "local" and error.errno is None:
            raise describe_damage(path, str(error).partition("\n")[0]) from error
        raise


def encode_summary(table: pa.Table) -> bytes:
    """Return a table as an Arrow file that is fast to read."""
    sink = pa.BufferOutputStream()
    # One batch: a reader spends its time on the number of buffers, and each batch has its own for every column.
    table = table.combine_chunks()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def decode_summary(data: bytes, path: str, columns: list[str] | None, schema: pa.Schema | None) -> pa.Table:
    """Return the table of `encode_summary`, or some of its columns.

    Raises
    ------
    raypipe.storage.errors.StoreError
        If the file is damaged, lacks a column, or has a column of another type than `schema`. The message names `path`.
    """
    try:
        # Threads would take longer to start than to read a small file.
        table = pa.ipc.open_file(pa.py_buffer(data), options=pa.ipc.IpcReadOptions(use_threads=False)).read_all()
        require_columns(table.schema, path, columns, schema)
        table = table if columns is None else table.select(columns)
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise describe_damage(path, str(error).partition("\n")[0]) from error
    return table
