"""The signals that stop a command, and the exceptions that they become."""

import os
import signal
from types import FrameType

STATUS_OF_SIGNAL = 128
"""Number that a shell adds to the signal that ended a command."""
STOPPING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that become a `SystemExit`; Ctrl-C is SIGINT and becomes a `KeyboardInterrupt`. A closed terminal sends
SIGHUP."""

STANDARD_ERROR = 2
"""File descriptor of standard error."""


_received: list[signal.Signals] = []
"""Signals that `raise_exit` has handled since `forget_signals`."""


def forget_signals() -> None:
    """Forget the signals of an earlier command of this process."""
    _received.clear()


def raise_exit(number: int, _frame: FrameType | None) -> None:
    """Raise SystemExit with the status that a shell expects, as the handler of a signal, which is remembered."""
    _received.append(signal.Signals(number))
    raise SystemExit(STATUS_OF_SIGNAL + number)


def end_at_once(number: int, _frame: FrameType | None) -> None:
    """Print the signal and end the process, as the handler of a signal while there is nothing to finish or to clean up.

    An exception would not do: a module that is being imported may take it for a failure of its own.
    """
    os.write(STANDARD_ERROR, f"Stopped by {signal.Signals(number).name}.\n".encode())
    os._exit(STATUS_OF_SIGNAL + number)


def watch_start() -> None:
    """Let signals end the process in one line while a command is imported, until `end_start`; ignored ones stay so."""
    for number in (signal.SIGINT, *STOPPING):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end_at_once)


def end_start() -> None:
    """Handle signals as Python does by default, where `watch_start` changed it: the command begins."""
    for number in (signal.SIGINT, *STOPPING):
        if signal.getsignal(number) is end_at_once:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def find_stop(error: BaseException) -> signal.Signals | None:
    """Return the signal that an exception comes from, or None if it comes from none.

    The exception that a signal became is the error itself, or one that was being handled when the error was raised: a
    closed terminal takes no last line. Where Ray replaces the `SystemExit` of a handler with an error of its own
    that does not name it, the signal that was received says so.
    """
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, KeyboardInterrupt):
            return signal.SIGINT
        for number in STOPPING:
            if isinstance(link, SystemExit) and link.code == STATUS_OF_SIGNAL + number:
                return number
        link = link.__cause__ or link.__context__
    if _received:
        return _received[0]
    return signal.SIGTERM if isinstance(error, SystemExit) else None
