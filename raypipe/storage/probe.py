"""Probe of a store: it is written to, read and cleaned, before a run of hours depends on it."""

import time
import uuid
from pathlib import Path

from raypipe.storage.errors import StoreError
from raypipe.storage.store import Store

SIZE = 2**20


def probe_store(location: str) -> tuple[float, float]:
    """Write a file to a store, replace it, read it and remove it.

    Returns
    -------
    tuple of two floats
        Seconds of a write of 1 MiB, and the difference in seconds between the store's clock and this machine's.

    Raises
    ------
    raypipe.storage.errors.StoreError
        If a step fails, a replaced file is not the new one, or something stays behind.
    ValueError
        If the location is invalid.
    """
    store = Store.open(location)
    new = [path for path in (Path(store.root), *Path(store.root).parents) if store.is_local and not path.exists()]
    name = f"probe-{uuid.uuid4().hex}"
    path = f"{name}/file"
    store.write_bytes(path, b"old")
    begun, clock = time.perf_counter(), time.time()
    content = b"x" * SIZE
    store.write_bytes(path, content)
    seconds = time.perf_counter() - begun
    try:
        if store.read_bytes(path) != content:
            raise StoreError(f"{store.path(path)}: a replaced file was read as before; use another `storage`")
        if (names := store.list_files(name)) != ["file"]:
            raise StoreError(f"{store.path(name)}: expected one file, found {', '.join(names)}; use another `storage`")
        (info,) = store.list_tree(name)
    finally:
        store.remove(name)
        for folder in new:  # the store did not exist before, and does not afterwards
            folder.rmdir()
    return seconds, info.changed - clock
