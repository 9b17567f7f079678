"""Claims of runs on fits, so that two runs on one store do not fit the same model at once.

A fit has state of its own in the store while it is at work, which two fits of one cell would spoil. Work by shards
needs no claims: a shard is written at once, and the first one counts.
"""

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel

from raypipe.plan.cells import Cell, find_unfinished
from raypipe.progress.polling import poll
from raypipe.storage.errors import StoreError
from raypipe.storage.store import Store

FOLDER = "claims"
RENEW_SECONDS = 10.0
STALE_SECONDS = 60.0
"""Age from which a claim was left by a run that ended without a word."""
POLL_SECONDS = 1.0
SETTLE_SECONDS = 1.0
"""Seconds until an object store shows the same claim to all runs that made one at the same time."""


class Claim(BaseModel):
    """A run's claim on a fit.

    Parameters
    ----------
    token
        Identity of the run's stage.
    host, machine, pid
        Name of the host, its processes as the kernel counts them, and the process of the run.
    renewed
        Time of the last renewal, in seconds since 1970.
    """

    token: str
    host: str
    machine: str
    pid: int
    renewed: float

    def is_stale(self) -> bool:
        """Return True if the run that made the claim has ended."""
        if time.time() - self.renewed >= STALE_SECONDS:
            return True
        return (self.host, self.machine) == _identify_machine() and not Path(f"/proc/{self.pid}").exists()


def fit_unclaimed(
    cells: Sequence[Cell], store: Store, fit: Callable[[Sequence[Cell]], None], say: Callable[[str], None]
) -> None:
    """Fit the unfinished cells that no other run fits, wait for the others, and fit those that were given up.

    Parameters
    ----------
    cells
        Cells to finish.
    fit
        Function that fits and publishes cells. It may be called several times.
    say
        Receives a message about a wait for another run.
    """
    told: set[str] = set()
    while todo := find_unfinished(cells, store):
        with claim(todo, store) as mine:
            if own := find_unfinished([cell for cell in todo if cell.key in mine], store):
                fit(own)
                continue
        others = [cell.name for cell in find_unfinished(todo, store) if cell.key not in mine]
        if others and not told.issuperset(others):
            told.update(others)
            say(f"waiting for another run on this store, which fits {', '.join(others)}")
        time.sleep(POLL_SECONDS)


@contextmanager
def claim(cells: Sequence[Cell], store: Store) -> Iterator[frozenset[str]]:
    """Claim cells while the block runs, and yield the keys of those that no other run has claimed."""
    host, machine = _identify_machine()
    ours = Claim(token=uuid.uuid4().hex, host=host, machine=machine, pid=os.getpid(), renewed=time.time())
    asked = [cell.key for cell in cells if _claim(cell.key, ours, store)]
    if asked and not store.is_local:
        time.sleep(SETTLE_SECONDS)
    held = frozenset(key for key in asked if (found := _read(key, store)) and found.token == ours.token)

    def renew() -> None:
        for key in held:
            _write(key, ours.model_copy(update={"renewed": time.time()}), store)

    try:
        with poll(renew, RENEW_SECONDS):
            yield held
    finally:
        for key in held:
            with suppress(StoreError):  # a claim that stays behind is stale soon
                store.remove(_get_path(key))


def _claim(key: str, ours: Claim, store: Store) -> bool:
    """Write a claim, unless another run at work has one; return True if it was written."""
    other = _read(key, store)
    if other is not None:
        if not other.is_stale():
            return False
        store.remove(_get_path(key))
    return store.add_bytes(_get_path(key), ours.model_dump_json().encode())


def _write(key: str, ours: Claim, store: Store) -> None:
    store.write_bytes(_get_path(key), ours.model_dump_json().encode())


def _read(key: str, store: Store) -> Claim | None:
    with suppress(FileNotFoundError):
        return Claim.model_validate_json(store.read_bytes(_get_path(key)))
    return None


def _get_path(key: str) -> str:
    return f"{FOLDER}/{key}.json"


def _identify_machine() -> tuple[str, str]:
    """Return the host and the namespace of its process ids, within which a process id means one process."""
    with suppress(OSError):
        return socket.gethostname(), os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    return socket.gethostname(), ""
