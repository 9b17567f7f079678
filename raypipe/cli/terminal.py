"""The console that commands print to."""

import io
import json
import os
import shutil
import sys
from typing import Any, Literal, TextIO

from rich.console import Console

UNBROKEN = 1000
"""Number of columns if the output is no terminal, so that no line is broken, and other programs can search them."""


def print_json(value: Any) -> None:
    """Print a value as JSON, without the colors and line breaks of a console."""
    sys.stdout.write(f"{json.dumps(value, indent=1)}\n")


def output(*, as_json: bool = False) -> Console:
    """Return standard output as a console, as wide as the terminal, the variable COLUMNS, or `UNBROKEN`.

    Parameters
    ----------
    as_json
        True if standard output gets JSON: the console is then standard error.
    """
    stream = sys.stderr if as_json else sys.stdout
    wide = not stream.isatty() and "COLUMNS" not in os.environ
    return Console(stderr=as_json, width=UNBROKEN if wide else None, color_system=_find_colors())


def error_output() -> Console:
    """Return standard error as a console."""
    return Console(stderr=True, color_system=_find_colors())


def _find_colors() -> Literal["auto"] | None:
    """Return the colors for a console. With NO_COLOR, rich would leave out colors only, and keep bold and dim text."""
    return None if os.environ.get("NO_COLOR") else "auto"


def help_width() -> int:
    """Return the number of columns of help texts, at most 100 on a terminal, which is easy to read."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return min(100, shutil.get_terminal_size().columns)
    return UNBROKEN


def escape_unencodable(*streams: TextIO) -> None:
    """Make text streams escape characters that their encoding lacks, instead of an error that loses the output."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
