"""A page in headless Chromium, served on loopback without a driver: the page's own script engine reports."""

import functools
import html
import http.server
import json
import re
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raypipe.report.page.pdf import find_browser

CHROMIUM = find_browser()
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--dump-dom",
    "--virtual-time-budget=20000",
)  # fmt: skip
FRAME = Path(__file__).with_name("frame.html")


@dataclass(frozen=True)
class Seen:
    """The appearance of a page at one width.

    Parameters
    ----------
    errors
        Errors of its scripts, and messages of the browser's console.
    overflow
        Number of pixels by which it is wider than the window.
    unseen
        Figures and pictures that have no size.
    smallest_text
        Smallest font size in pixels.
    column
        Texts of the table's column whose heading was clicked.
    answer
        Value of the expression that was asked.
    """

    errors: list[str]
    overflow: int
    unseen: list[str]
    smallest_text: float
    column: list[str]
    answer: Any = None


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A handler that serves files and prints nothing."""

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def look(page: Path, width: int, click: str | None = None, ask: str = "null") -> Seen:
    """Open a page in a window of some width, click on the element of a CSS selector, and evaluate an expression."""
    assert CHROMIUM
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(page, Path(folder, "page.html"))
        text = (
            FRAME.read_text()
            .replace("WIDTH", str(width))
            .replace("CLICK", json.dumps(click))
            .replace("ASK", json.dumps(ask))
        )
        Path(folder, "frame.html").write_text(text)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            address = f"http://127.0.0.1:{server.server_port}/frame.html"
            command = [CHROMIUM, *OPTIONS, "--enable-logging=stderr", f"--user-data-dir={folder}/profile", address]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        finally:
            server.shutdown()
    told = re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    assert told, done.stderr
    seen = Seen(**json.loads(html.unescape(told[1])))
    # A page of the browser's own may complain, too: of slow fonts on a busy machine.
    said = [line for line in re.findall(r"CONSOLE:\d+\] (.*)", done.stderr) if "source: chrome://" not in line]
    return Seen(**{**vars(seen), "errors": [*seen.errors, *said]})
