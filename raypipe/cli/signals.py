"""The stop of a run by a signal: an exception ends it, so that it can print its progress."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console

from raypipe.base.stopping import STATUS_OF_SIGNAL, STOPPING, find_stop, forget_signals, raise_exit


@contextmanager
def stop_signals(console: Console, remedy: str = "before anything was computed.") -> Iterator[None]:
    """End the block with an exception on SIGTERM, SIGINT and SIGHUP, and exit with the status that a shell expects.

    A started run prints how many cells are finished. Otherwise a line with the `remedy` is printed. A signal that is
    ignored already, as SIGHUP is under `nohup`, stays so. Signals can be handled in the main thread only, so this does
    nothing in other threads.

    Parameters
    ----------
    remedy
        End of the line that begins with ``Stopped by SIGINT``.

    Raises
    ------
    SystemExit
        With status 143 after SIGTERM, 130 after SIGINT, and 129 after SIGHUP.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {**dict.fromkeys(STOPPING, raise_exit), signal.SIGINT: signal.default_int_handler}
    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    heard = [number for number in handlers if not (nohup and number == signal.SIGHUP)]
    forget_signals()
    before = {number: signal.signal(number, handlers[number]) for number in heard}
    try:
        yield
    except BaseException as error:
        number = find_stop(error)
        if number is None:
            raise
        if not vars(error).get("reported"):
            with suppress(OSError):  # the terminal may be closed
                console.print(f"Stopped by {number.name} {remedy}", highlight=False, markup=False, soft_wrap=True)
        raise SystemExit(STATUS_OF_SIGNAL + number) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        forget_signals()
