"""The console that commands print to."""

import sys

from rich.console import Console

LOG_WIDTH = 160
"""Number of columns of tables if the output is not a terminal."""


def output() -> Console:
    """Return standard output as a console, as wide as the terminal if it is one."""
    return Console() if sys.stdout.isatty() else Console(width=LOG_WIDTH)
