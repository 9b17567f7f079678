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


def stopped_by(error: BaseException) -> signal.Signals:
    """Return the signal that an exception stands for.

    Ray replaces the `SystemExit` of a handler with one of its own, whose context has the handler's.
    """
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    link: BaseException | None = error
    while link is not None:
        for number in STOPPING:
            if isinstance(link, SystemExit) and link.code == STATUS_OF_SIGNAL + number:
                return number
        link = link.__cause__ or link.__context__
    return signal.SIGTERM
