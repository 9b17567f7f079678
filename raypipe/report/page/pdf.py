"""A report as PDF, printed by a Chromium that is installed on this machine."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from raypipe.report.page.report import REPORT_FILE
from raypipe.storage.store import Store

PDF_FILE = "report.pdf"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
SECONDS = 300
"""Time after which a browser that does not answer is stopped."""
NO_BROWSER = (
    "No PDF: no Chromium is installed here. Install the package chromium (apt install chromium, brew install chromium) "
    "or Google Chrome, or open the report in any browser and print it to a file."
)


def find_browser() -> str | None:
    """Return the path of a Chromium on this machine; None if there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def write_pdf(store: Store, run: str, browser: str) -> str:
    """Print the stored report of a run to a PDF in the same folder, and return its path.

    Parameters
    ----------
    run
        Name of the run.
    browser
        Path of a Chromium, from `find_browser`.

    Raises
    ------
    FileNotFoundError
        If the run has no report.
    RuntimeError
        If the browser writes no PDF.
    """
    page = store.read_bytes(f"runs/{run}/{REPORT_FILE}")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, REPORT_FILE), Path(folder, PDF_FILE)
        source.write_bytes(page)
        command = [
            browser, "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking",
            "--disable-extensions", "--no-pdf-header-footer", f"--user-data-dir={folder}/profile",
            f"--print-to-pdf={target}", source.as_uri(),
        ]  # fmt: skip
        if os.geteuid() == 0:  # Chromium has no sandbox for root, and the page is ours and fetches nothing
            command.insert(1, "--no-sandbox")
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)  # noqa: S603  a browser
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"{browser} did not print {REPORT_FILE} within {SECONDS} s") from error
        if not target.is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RuntimeError(f"{browser} printed no PDF of {REPORT_FILE} (exit code {done.returncode}): {last}")
        store.write_bytes(f"runs/{run}/{PDF_FILE}", target.read_bytes())
    return store.path(f"runs/{run}/{PDF_FILE}")
