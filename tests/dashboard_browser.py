"""A script that signs in to a Ray dashboard in headless Chromium with a token, and prints its pages' text as JSON.

    python tests/dashboard_browser.py http://127.0.0.1:8265 TOKEN [FOLDER FOR SCREENSHOTS]

If Prometheus serves on its usual port, its list of metrics is printed too. This is a script of its own, because it runs
on the machine that reaches the dashboard.
"""

import functools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = (shutil.which(name) or "" for name in ("chromium", "chromedriver"))
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1400,2400",
)  # fmt: skip
PATIENCE_SECONDS = 60
PROMETHEUS = "http://127.0.0.1:9090"


class Dashboard:
    """The dashboard in a browser."""

    def __init__(self, browser: WebDriver, address: str, pictures: Path | None) -> None:
        self.browser = browser
        self.address = address
        self.pictures = pictures

    def text(self) -> str:
        return self.browser.find_element(By.TAG_NAME, "body").text

    def wait_for(self, found: Callable[[], Any], what: str) -> Any:
        waiting = WebDriverWait(
            self.browser,
            PATIENCE_SECONDS,
            ignored_exceptions=[NoSuchElementException, StaleElementReferenceException],
        )
        return waiting.until(lambda _: found(), f"never saw {what}")

    def sign_in(self, token: str) -> str:
        """Answer the dialog that asks for the token, and return its text."""
        self.browser.get(self.address)
        dialog: WebElement = self.wait_for(lambda: self.visible("[role=dialog]"), "a dialog")
        asked = dialog.text
        self.wait_for(lambda: self.visible("[role=dialog] input"), "a field").send_keys(token)
        buttons = self.browser.find_elements(By.CSS_SELECTOR, "[role=dialog] button")
        next(button for button in buttons if button.text.lower() == "submit").click()
        self.wait_for(lambda: not self.visible("[role=dialog]"), "the dialog go")
        return asked

    def metrics(self) -> str:
        """Return the page on which Prometheus lists its metrics; empty if none runs."""
        try:
            self.browser.get(f"{PROMETHEUS}/classic/graph")
        except WebDriverException:
            return ""
        self.wait_for(lambda: "ray_raypipe_" in self.text(), "our metrics")
        self.take_picture("metrics")
        return self.text()

    def take_picture(self, name: str) -> None:
        if self.pictures:
            self.browser.save_screenshot(str(self.pictures / f"{name}.png"))

    def visible(self, selector: str) -> WebElement | None:
        elements = self.browser.find_elements(By.CSS_SELECTOR, selector)
        return next((element for element in elements if element.is_displayed()), None)

    def open(self, page: str, expected: str, *sections: str) -> str:
        """Open a page, wait for a text on it, unfold sections, and return all of its text."""
        self.browser.get("about:blank")  # the browser does not reload a page that differs only after the #
        self.browser.get(f"{self.address}/#/{page}")
        self.wait_for(lambda: expected in self.text(), f"{expected!r} on {page}")
        for section in sections:
            heading = (By.XPATH, f"//*[text()='{section}']")
            self.wait_for(functools.partial(self.browser.find_element, *heading), section).click()
        if sections:
            time.sleep(3)  # sections unfold slowly, and each requests its contents from the head
            for arrow in self.browser.find_elements(
                By.CSS_SELECTOR, "tr td:first-child svg"
            ):  # the arrows of a data set's operators
                arrow.click()
            time.sleep(1)
        self.take_picture(page.replace("/", "-"))
        return self.text()


def look(address: str, token: str, pictures: Path | None) -> dict[str, str]:
    """Return the texts of the dialog, the jobs, the newest job with its operators and actors, and the metrics."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    with tempfile.TemporaryDirectory() as profile:
        for option in (*OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        try:
            dashboard = Dashboard(browser, address, pictures)
            asked = dashboard.sign_in(token)
            jobs = dashboard.open("jobs", "jobs/run.py")
            numbers = [word for word in jobs.split() if word.isdigit() and len(word) == 8]
            job = dashboard.open(f"jobs/{max(numbers)}", "Ray Core Overview", "Ray Data Overview", "Actor Table")
            return {"asked": asked, "jobs": jobs, "job": job, "metrics": dashboard.metrics()}
        finally:
            browser.quit()


if __name__ == "__main__":
    folder = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    sys.stdout.write(json.dumps(look(sys.argv[1], sys.argv[2], folder)) + "\n")
