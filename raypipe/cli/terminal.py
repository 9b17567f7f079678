"""What commands print to."""

import sys

from rich.console import Console

LOG_WIDTH = 160
"""Columns of the tables where the output is not a terminal."""


def output() -> Console:
    """Standard output, as wide as the terminal if it is one."""
    return Console() if sys.stdout.isatty() else Console(width=LOG_WIDTH)
