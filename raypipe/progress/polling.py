"""A look at the store every few seconds, beside the work of a block."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

from raypipe.storage.errors import StoreError


@contextmanager
def poll(look: Callable[[], None], seconds: float) -> Iterator[None]:
    """Call a function every few seconds while the block runs.

    An object store may replace a record while it is read, so a look that fails with StoreError is skipped.

    Parameters
    ----------
    look
        Function that reads the store. It runs in a thread of its own.
    seconds
        Seconds between two calls.
    """
    stop = Event()

    def loop() -> None:
        while not stop.wait(seconds):
            with suppress(StoreError):
                look()

    thread = Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
