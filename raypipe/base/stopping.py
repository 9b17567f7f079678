"""The signals that stop a command, and the exceptions that they become."""

import signal
from types import FrameType

STATUS_OF_SIGNAL = 128
"""Number that a shell adds to the signal that ended a command."""
STOPPING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that become a `SystemExit`; Ctrl-C is SIGINT and becomes a `KeyboardInterrupt`. A closed terminal sends
SIGHUP."""


def raise_exit(number: int, _frame: FrameType | None) -> None:
    """Raise SystemExit with the status that a shell expects, as the handler of a signal."""
    raise SystemExit(STATUS_OF_SIGNAL + number)


def find_stop(error: BaseException) -> signal.Signals | None:
    """Return the signal that an exception comes from, or None if it comes from none.

    The exception that a signal became is the error itself, or one that was being handled when the error was raised: Ray
    replaces the `SystemExit` of a handler with one of its own, and a closed terminal takes no last line.
    """
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, KeyboardInterrupt):
            return signal.SIGINT
        for number in STOPPING:
            if isinstance(link, SystemExit) and link.code == STATUS_OF_SIGNAL + number:
                return number
        link = link.__cause__ or link.__context__
    return signal.SIGTERM if isinstance(error, SystemExit) else None
