"""The console that commands print to."""

import io
import sys
from typing import TextIO

from rich.console import Console

LOG_WIDTH = 160
"""Number of columns of tables if the output is not a terminal."""


def output() -> Console:
    """Return standard output as a console, as wide as the terminal if it is one."""
    return Console() if sys.stdout.isatty() else Console(width=LOG_WIDTH)


def escape_unencodable(*streams: TextIO) -> None:
    """Make text streams escape characters that their encoding lacks, instead of an error that loses the output."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
