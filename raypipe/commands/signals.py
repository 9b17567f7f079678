"""What SIGTERM and Ctrl-C do to a command: they end it as an exception, so that it can still say what is finished."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from raypipe.errors import Stopped

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals() -> Iterator[None]:
    """Raise `raypipe.errors.Stopped` in the block at the first SIGTERM or SIGINT; a second one ends the process.

    Signals can be handled in the main thread only: elsewhere this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _stop) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, _frame: FrameType | None) -> None:
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_DFL)
    raise Stopped(number)
