"""Looks at a page in headless Chromium, served on loopback; needs no driver: the page's own script engine tells."""

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

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--dump-dom",
    "--virtual-time-budget=20000",
)  # fmt: skip
FRAME = Path(__file__).with_name("frame.html")


@dataclass(frozen=True)
class Seen:
    """What a page looks like at a width.

    Parameters
    ----------
    errors
        Of its scripts, and what the browser's console says.
    overflow
        Pixels that it is wider than the window.
    unseen
        Figures and pictures that have no size.
    smallest_text
        Font size, in pixels.
    column
        The texts of the table's column whose heading was clicked.
    """

    errors: list[str]
    overflow: int
    unseen: list[str]
    smallest_text: float
    column: list[str]


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and keeps it to itself."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


def look(page: Path, width: int, click: str | None = None) -> Seen:
    """Open a page in a window of some width; click on what a CSS selector names."""
    assert CHROMIUM
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(page, Path(folder, "page.html"))
        text = FRAME.read_text().replace("WIDTH", str(width)).replace("CLICK", json.dumps(click))
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
    said = re.findall(r"CONSOLE:\d+\] (.*)", done.stderr)
    return Seen(**{**vars(seen), "errors": [*seen.errors, *said]})
