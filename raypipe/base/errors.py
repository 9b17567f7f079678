"""What a stage, or a download, says when it cannot go on."""


class StageError(RuntimeError):
    """A stage failed; the message names the cell, what was expected and what to do."""


class FetchError(RuntimeError):
    """A file could not be fetched; the message names it, what was expected and what to do."""
