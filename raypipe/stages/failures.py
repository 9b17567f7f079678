"""Failures of workers, as errors that any process can rebuild.

Ray pickles a worker's error and rebuilds it from its arguments. That fails for types that take other arguments, as many
libraries' do, and for those that hold a lock: users would read about the failed rebuilding instead of the error.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.train import WorkerGroupError

from raypipe.base.errors import StageError, describe_error, get_last_line
from raypipe.plan.cells import Cell


@contextmanager
def name_cell_in_errors(cell: Cell) -> Iterator[None]:
    """Raise each error of the block as a `StageError` that names the cell, and the error's type and message.

    The traceback of the error is a note of it.

    Raises
    ------
    StageError
        If the block raises an `Exception`. A `StageError` of the block stays as it is.
    """
    try:
        yield
    except Exception as error:
        if type(error) is StageError:  # a subclass may take other arguments
            raise
        failure = StageError(f"{cell.name}: {describe_error(error)}")
        failure.add_note("".join(traceback.format_exception(error)))
        raise failure from None  # Ray Tune rebuilds the cause, too


def find_root_cause(error: BaseException) -> BaseException:
    """Return the error that a worker raised, from inside of Ray's own errors."""
    cause = error
    while True:
        if isinstance(cause, ray.exceptions.RayTaskError) and isinstance(cause.cause, BaseException):
            cause = cause.cause
        elif isinstance(cause, WorkerGroupError) and cause.worker_failures:
            cause = cause.worker_failures[min(cause.worker_failures)]
        else:
            return cause


def describe_cause(error: BaseException) -> str:
    """Return the message of a worker's error in one line."""
    cause = find_root_cause(error)
    return str(cause) if isinstance(cause, StageError) else get_last_line(cause)
