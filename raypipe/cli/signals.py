"""The stop of a run on SIGTERM and Ctrl-C: an exception ends it, so that it can print its progress."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

STATUS_OF_SIGNAL = 128
"""Number that a shell adds to the signal that ended a command."""


@contextmanager
def stop_signals(console: Console, remedy: str = "before anything was computed.") -> Iterator[None]:
    """End the block with an exception on SIGTERM and SIGINT, and exit with the status that a shell expects.

    A started run prints how many cells are finished. Otherwise a line with the `remedy` is printed. Signals can be
    handled in the main thread only, so this does nothing in other threads.

    Parameters
    ----------
    remedy
        End of the line that begins with ``Stopped by SIGINT``.

    Raises
    ------
    SystemExit
        With status 143 after SIGTERM and 130 after SIGINT.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {signal.SIGTERM: _raise_exit, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as error:  # Ray replaces our SystemExit with one of its own
        number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
        if not vars(error).get("reported"):
            console.print(f"Stopped by {number.name} {remedy}", highlight=False, markup=False, soft_wrap=True)
        raise SystemExit(STATUS_OF_SIGNAL + number) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise_exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(STATUS_OF_SIGNAL + number)
