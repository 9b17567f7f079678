"""Stop a run on SIGTERM and Ctrl-C: they end it as an exception, so that it can print how far it came."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

STATUS_OF_SIGNAL = 128
"""A shell adds this to the number of the signal that ended a command."""


@contextmanager
def stop_signals(console: Console) -> Iterator[None]:
    """Let SIGTERM and SIGINT end the block by an exception, and exit with the status that a shell expects of them.

    A run that has begun prints how many cells are finished. A block that ends earlier prints that nothing was computed.
    Signals can be handled in the main thread only: elsewhere this does nothing.

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
    except (KeyboardInterrupt, SystemExit) as error:  # Ray makes a SystemExit of its own of ours
        number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
        if not vars(error).get("reported"):
            console.print(f"Stopped by {number.name} before anything was computed.", highlight=False)
        raise SystemExit(STATUS_OF_SIGNAL + number) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise_exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(STATUS_OF_SIGNAL + number)
