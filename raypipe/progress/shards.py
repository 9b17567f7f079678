"""Headway within shards: a worker writes down how many tiles it has decided, and the driver reads it.

The store carries it, as it carries the epochs of a fit, because the workers of a cluster share nothing else.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from pydantic import BaseModel, ValidationError

from raypipe.progress.polling import poll
from raypipe.storage.errors import StoreError
from raypipe.storage.store import Store

FOLDER = "progress/shards"
LOCAL_SECONDS, REMOTE_SECONDS = 1.0, 10.0
"""Seconds between two writes and between two looks, on a local disk and on an object store."""


class ShardState(BaseModel):
    """A shard in work.

    Parameters
    ----------
    cell
        Name of its cell.
    tiles, of
        Number of tiles decided, and number of all its tiles.
    seconds
        Seconds since the work began.
    """

    cell: str
    tiles: float = 0.0
    of: int = 0
    seconds: float = 0.0


def name_shard(key: str, shard: str) -> str:
    """Return the name of the file for a shard, given by the key of its cell and its path."""
    return f"{key}-{shard.rsplit('/', 1)[-1]}.json"


@contextmanager
def write_headway(store: Store, name: str, cell: str, tiles: int) -> Iterator[Callable[[float], None]]:
    """Yield a function that takes the number of decided tiles, and writes it down now and then.

    The file vanishes with the block. Work of less than a second leaves no trace. A failure to write is no failure of
    the work.
    """
    begun = last = time.monotonic()
    state, wrote = ShardState(cell=cell, of=tiles), False

    def note(decided: float) -> None:
        nonlocal last, wrote
        state.tiles = max(state.tiles, min(decided, float(tiles)))
        if (now := time.monotonic()) - last >= _choose_period(store):
            last, wrote, state.seconds = now, True, now - begun
            with suppress(StoreError):
                store.write_bytes(f"{FOLDER}/{name}", state.model_dump_json().encode())

    try:
        yield note
    finally:
        if wrote:
            with suppress(StoreError):
                store.remove(f"{FOLDER}/{name}")


@contextmanager
def follow_headway(store: Store, names: Sequence[str], show: Callable[[dict[str, ShardState]], None]) -> Iterator[None]:
    """Show the shards in work every few seconds while the block runs, by the names of their files; at its end, none."""
    wanted = frozenset(names)
    for stale in wanted.intersection(store.list_files(FOLDER)):  # a run that was killed left them
        store.remove(f"{FOLDER}/{stale}")

    def look() -> None:
        known = sorted(wanted.intersection(store.list_files(FOLDER)))
        if states := {name: state for name in known if (state := _read(store, name))}:
            show(states)

    try:
        with poll(look, _choose_period(store)):
            yield
    finally:
        show({})


def _read(store: Store, name: str) -> ShardState | None:
    """Return a state, or None if its shard has been finished meanwhile."""
    with suppress(FileNotFoundError, ValidationError):
        return ShardState.model_validate_json(store.read_bytes(f"{FOLDER}/{name}"))
    return None


def _choose_period(store: Store) -> float:
    return LOCAL_SECONDS if store.is_local else REMOTE_SECONDS
