"""Errors of the store, each with the place and the remedy."""

from collections.abc import Iterator
from contextlib import contextmanager

from raypipe.base.errors import UserError


class StoreError(UserError, OSError):
    """Failure to read or write the store. The message names the place and the remedy."""


def describe_damage(where: str, reason: object) -> StoreError:
    """Return the error for a file that raypipe wrote and cannot read."""
    return StoreError(
        f"{where}: cannot be read: {reason}; something else changed it, or the disk fails: delete the folder that "
        "it is in, and run the experiment again to compute it again"
    )


@contextmanager
def explain_errors(action: str, path: str, more: str = "") -> Iterator[None]:
    """Raise StoreError with the action and the path for any error of the filesystem except a missing file."""
    try:
        yield
    except (FileNotFoundError, StoreError):
        raise
    except OSError as error:
        advice = "free space" if action == "write" else "see that it can be reached"
        raise StoreError(
            f"cannot {action} {path}{more}: {error.strerror or error}; {advice} or choose another `storage`, then run "
            "again: finished work is kept"
        ) from error
