"""A bar that shows the progress of a run in a notebook, without ipywidgets."""

import sys
import time
from html import escape
from typing import Any

from raypipe.progress.callback import Progress, ProgressCallback, ignore_progress
from raypipe.progress.tree import format_duration

KERNEL = "ZMQInteractiveShell"
"""Class of the shell of IPython in the kernel of a notebook. A terminal has another one."""
SECONDS = 0.2
"""Shortest time between two updates of the bar."""


def is_notebook() -> bool:
    """Return True if this process is the kernel of a notebook."""
    ipython: Any = sys.modules.get("IPython")
    return ipython is not None and type(ipython.get_ipython()).__name__ == KERNEL


def choose_callback(callback: ProgressCallback | None) -> ProgressCallback:
    """Return a callback, or if there is none, a bar in a notebook and nothing elsewhere."""
    if callback is not None:
        return callback
    return NotebookBar() if is_notebook() else ignore_progress


class NotebookBar:
    """A bar below a cell of a notebook. It is updated in place, and stays at the end of the run."""

    def __init__(self) -> None:
        self.handle: Any = None
        self.shown = 0.0

    def __call__(self, progress: Progress) -> None:
        """Show the progress of a run."""
        now = time.monotonic()
        if progress.state == "running" and now - self.shown < SECONDS:
            return
        self.shown = now
        from IPython.display import HTML, display  # noqa: PLC0415  a notebook has it

        if self.handle is None:
            self.handle = display(HTML(draw_bar(progress)), display_id=True)
        else:
            self.handle.update(HTML(draw_bar(progress)))


def draw_bar(progress: Progress) -> str:
    """Return the bar and one line about a run, as HTML."""
    parts = [progress.run, f"{progress.cells_done} of {progress.cells} cells"]
    if progress.state == "running" and progress.stage:
        parts.append(f"{progress.stage}: {progress.done:.0f} of {progress.total} {progress.unit}")
        if progress.seconds_left is not None:
            parts.append(f"about {format_duration(progress.seconds_left)} left in this stage")
    else:
        parts.append(progress.activity if progress.state == "running" else progress.state)
    line = escape(", ".join(part for part in parts if part))
    return f'<progress value="{progress.fraction:.4f}" max="1" style="width: 60%"></progress> <small>{line}</small>'
