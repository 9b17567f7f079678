"""What a stage, or a download, says when it cannot go on, and what a signal raises."""

import signal


class StageError(RuntimeError):
    """A stage failed; the message names the cell, what was expected and what to do."""


class FetchError(RuntimeError):
    """A file could not be fetched; the message names it, what was expected and what to do."""


class Stopped(SystemExit):
    """A signal ends the command, with the exit status that a shell expects: 128 and the signal's number.

    Parameters
    ----------
    number
        Of the signal: SIGTERM, or SIGINT from Ctrl-C.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.signal = signal.Signals(number).name
        self.reported = False
        """True once the user was told what is finished."""
