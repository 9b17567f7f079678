"""The result of a check of this machine."""

from typing import Literal, NamedTuple

State = Literal["ok", "note", "problem"]


class Finding(NamedTuple):
    """Result of a check: its state, what was found, and what to do; "" if nothing is to be done.

    A ``note`` limits some runs only. A ``problem`` keeps runs from working.
    """

    check: str
    state: State
    text: str
    remedy: str = ""


def write_size(count: float) -> str:
    """Return a number of bytes in GiB."""
    return f"{count / 2**30:.1f} GiB"
