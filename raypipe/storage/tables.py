"""Tables as bytes, and the demands on a table that was read."""

import pyarrow as pa
import pyarrow.parquet as pq

from raypipe.storage.errors import describe_damage

IMAGE_COLUMN = "image"
"""Column that makes up nearly all of the size of a table of tiles."""


def drop_images(table: pa.Table) -> pa.Table:
    """Return a table without its column of images, if it has one."""
    return table.drop_columns([IMAGE_COLUMN]) if IMAGE_COLUMN in table.column_names else table


def require_columns(found: pa.Schema, path: str, columns: list[str] | None, schema: pa.Schema | None) -> None:
    """Require columns, or those of a schema except the images, with the types of the schema."""
    for field in schema or []:
        if columns is None or field.name in columns:
            kind = found.field(field.name).type if field.name in found.names else "missing"
            if kind != field.type and (kind != "missing" or field.name != IMAGE_COLUMN):
                raise describe_damage(path, f"column {field.name!r} is {kind}, expected {field.type}")
    if missing := set(columns or ()) - set(found.names):
        raise describe_damage(path, f"column {min(missing)!r} is missing")


def encode_table(table: pa.Table) -> bytes:
    """Return a table as a Parquet file."""
    sink = pa.BufferOutputStream()
    # Images are compressed already and all differ: no codec and no dictionary makes them smaller.
    dictionary = [name for name in table.column_names if name != IMAGE_COLUMN]
    codec = "none" if IMAGE_COLUMN in table.column_names else "zstd"
    pq.write_table(table, sink, compression=codec, use_dictionary=dictionary)
    return bytes(sink.getvalue().to_pybytes())
