"""The console that commands print to."""

import io
import json
import os
import sys
from typing import Any, TextIO

from rich.console import Console

LOG_WIDTH = 160
"""Number of columns of tables if the output is not a terminal."""

NARROW = 72
"""Number of columns below which tables become lists."""


def print_json(value: Any) -> None:
    """Print a value as JSON, without the colors and line breaks of a console."""
    sys.stdout.write(f"{json.dumps(value, indent=1)}\n")


def output() -> Console:
    """Return standard output as a console, as wide as the terminal, the variable COLUMNS, or `LOG_WIDTH`."""
    return Console() if sys.stdout.isatty() or "COLUMNS" in os.environ else Console(width=LOG_WIDTH)


def escape_unencodable(*streams: TextIO) -> None:
    """Make text streams escape characters that their encoding lacks, instead of an error that loses the output."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
