"""The exit status of every command, and the errors that are printed in one line."""

import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.text import Text

from raypipe.base.errors import ConfigError, Notice, UserError
from raypipe.base.text import escape_controls
from raypipe.cli.detail import detail
from raypipe.cli.terminal import error_output

STATUSES = {
    0: "The command did its work.",
    1: "The work failed: a stage, a download, or a store that is damaged or was written by a newer raypipe.",
    2: "The command cannot be carried out as given: an unknown name, a missing file or folder, a wrong option, or "
    "errors in an experiment file.",
    3: "The model does not meet a requirement of `raypipe evaluate --fail-under`. Its results are complete.",
    129: "The terminal was closed (SIGHUP).",
    130: "Ctrl-C (SIGINT) stopped the command.",
    143: "SIGTERM stopped the command.",
}
"""The meaning of each exit status. It is the same for every command."""


@contextmanager
def tell_errors() -> Iterator[None]:
    """Print errors that the user can fix in one line, and set the exit status; -v prints the traceback before it.

    Findings (`raypipe.base.errors.Notice`) are printed in the same way, and change nothing.
    """
    try:
        with _print_notices():
            yield
    except (UserError, OSError) as error:
        if detail() == "verbose":
            traceback.print_exception(error)
        error_output().print(Text(escape_controls(str(error)), "red"), soft_wrap=True)
        status = ConfigError.status if isinstance(error, FileNotFoundError) else UserError.status
        raise SystemExit(error.status if isinstance(error, UserError) else status) from error


@contextmanager
def _print_notices() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("always", Notice)
        show = warnings.showwarning

        def show_notice(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, Notice):
                error_output().print(Text(escape_controls(str(message)), "yellow"), soft_wrap=True)
            else:
                show(message, category, *place, **more)

        warnings.showwarning = show_notice
        yield


@contextmanager
def errors_of(command: str) -> Iterator[None]:
    """Report errors about arguments as errors of the command."""
    try:
        yield
    except UserError:
        raise
    except (ValueError, OSError) as error:  # an input or a place for results that cannot be read or written
        raise ConfigError(command, [str(error)]) from error
