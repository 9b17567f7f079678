"""What a stage says when it cannot go on."""


class StageError(RuntimeError):
    """A stage failed; the message names the cell, what was expected and what to do."""
