"""Errors that a user can fix, which commands print in one line, and their exit statuses."""

import inspect
import sys
import sysconfig
import textwrap
import traceback
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

PACKAGE = __name__.partition(".")[0]
LONGEST = 600
"""Largest number of characters of a described error: a state with other names is thousands of them."""
INSTALLED = ("site-packages", "dist-packages")
"""Folders of installed packages."""


class UserError(Exception):
    """The base of errors that a user can fix. Commands print them without a traceback.

    Attributes
    ----------
    status
        Exit status of the command: 1 if its work failed, 2 if it cannot be carried out as it was given, 3 if a model
        does not meet a requirement.
    """

    status: ClassVar[int] = 1


class ConfigError(UserError, ValueError):
    """Error for a command, a setting or an experiment file that cannot be carried out as it was given.

    Parameters
    ----------
    source
        Name of the file or of the command.
    problems
        One message for each error. Each begins with the path of the field.
    """

    status = 2

    def __init__(self, source: str, problems: Iterable[str]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{source}: {count} error{'s' if count != 1 else ''}\n{lines}")


class StageError(UserError, RuntimeError):
    """Failure of a stage. The message names the cell, what was expected and what to do."""


class RequirementError(UserError):
    """A model that does not meet what a command requires. The work is done; the message names what is not met."""

    status = 3


class FetchError(UserError, RuntimeError):
    """Failure to fetch a file. The message names the file, what was expected and what to do."""


class Notice(UserWarning):
    """A finding that changes what the figures of healthy work mean. Commands print it in one line on standard error."""


def notify(text: str) -> None:
    """Warn with a `Notice` at the line outside of this package that called it, which is the user's own in Python."""
    frame, level = inspect.currentframe(), 1
    while frame and frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, Notice, stacklevel=level)


def get_last_line(error: BaseException) -> str:
    """Return the last line of an error's message, or the name of its type if it has none.

    Ray puts the traceback of a worker before the message.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def describe_error(error: BaseException) -> str:
    """Return an error's type and message in one line, and the line of the user's own code that it comes from."""
    try:
        message = str(error)
    except Exception:  # noqa: BLE001  a foreign type may need what its instance lacks
        message = "it has no readable message"
    place = _find_own_line(error)
    text = ": ".join(filter(None, (type(error).__name__, " ".join(message.split()))))
    return textwrap.shorten(text, LONGEST, placeholder=" ...") + (f" ({place})" if place else "")


def _find_own_line(error: BaseException) -> str:
    """Return the innermost line of a traceback that is in neither this package, Python nor an installed package."""
    package, python = Path(__file__).parents[1], Path(sysconfig.get_path("stdlib"))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        foreign = package in file.parents or python in file.parents or not set(INSTALLED).isdisjoint(file.parts)
        if file.is_file() and not foreign:
            folders = [each for each in map(Path, filter(None, sys.path)) if each in file.parents]
            longest = max((file.relative_to(each) for each in folders), key=lambda each: len(each.parts), default=file)
            return f"{longest}:{frame.lineno}"
    return ""
