"""Errors of stages and downloads that cannot continue."""


class StageError(RuntimeError):
    """Failure of a stage. The message names the cell, what was expected and what to do."""


class FetchError(RuntimeError):
    """Failure to fetch a file. The message names the file, what was expected and what to do."""
