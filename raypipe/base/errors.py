"""Errors of stages and downloads that cannot continue."""


class StageError(RuntimeError):
    """Failure of a stage. The message names the cell, what was expected and what to do."""


class FetchError(RuntimeError):
    """Failure to fetch a file. The message names the file, what was expected and what to do."""


def last_line(error: BaseException) -> str:
    """Return the last line of an error's message, or the name of its type if it has none.

    Ray puts the traceback of a worker before the message.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
