"""Records as JSON. Each contains the format of itself and of the files beside it. A newer format is rejected."""

import json
from typing import Any

from raypipe.base.version import __version__
from raypipe.storage.errors import StoreError, describe_damage

FORMAT = 1
"""Format of artifacts and runs. A record without one has format 1. Raise it with every change that an older raypipe
misreads."""


def encode_record(record: dict[str, Any]) -> bytes:
    """Return a record as JSON, with its format and the version of raypipe."""
    text = json.dumps({"format": FORMAT, "raypipe": __version__, **record}, indent=2)
    return f"{text}\n".encode()


def strip_format(record: object, path: str) -> dict[str, Any]:
    """Return the content of a record from its JSON, without its format and the version of raypipe.

    Parameters
    ----------
    record
        The JSON that was read.
    path
        Path of its file, for the message of an error.

    Raises
    ------
    raypipe.storage.errors.StoreError
        If a newer raypipe wrote it in a format that this one does not know, or if it is not a record.
    """
    if not isinstance(record, dict) or not isinstance(number := record.pop("format", 1), int) or number < 1:
        raise describe_damage(path, "expected an object with a format number, 1 or more")
    by = record.pop("raypipe", "an unknown version")
    if number > FORMAT:
        raise StoreError(
            f"{path} has format {number}, written by raypipe {by}; this is raypipe {__version__}, "
            f"which reads up to format {FORMAT}: install that version or a newer one, or choose another `storage`"
        )
    return record
