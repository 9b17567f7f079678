"""The signals that stop a command, and the exceptions that they become."""

import signal
from types import FrameType

STATUS_OF_SIGNAL = 128
"""Number that a shell adds to the signal that ended a command."""
STOPPING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that become a `SystemExit`; Ctrl-C is SIGINT and becomes a `KeyboardInterrupt`. A closed terminal sends
SIGHUP."""


_received: list[signal.Signals] = []
"""Signals that `raise_exit` has handled since `forget_signals`."""


def forget_signals() -> None:
    """Forget the signals of an earlier command of this process."""
    _received.clear()


def raise_exit(number: int, _frame: FrameType | None) -> None:
    """Raise SystemExit with the status that a shell expects, as the handler of a signal, which is remembered."""
    _received.append(signal.Signals(number))
    raise SystemExit(STATUS_OF_SIGNAL + number)


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
