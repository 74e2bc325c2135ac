"""What the browser tests share: open a page, and see what it asked for and what went wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selenium.webdriver.support.ui import WebDriverWait

PATIENCE = 300  # seconds; a machine that trains beside the tests is slow
LOCAL = ("file:", "data:", "blob:", "about:", "chrome:")

MISSING_IMAGES = """
return [...document.images].filter((image) => !image.complete || !image.naturalWidth)
  .map((image) => image.outerHTML.slice(0, 200));
"""


def open_page(browser: Any, address: Path | str) -> None:
    """Open a page, with the logs of earlier pages cleared."""
    browser.set_script_timeout(PATIENCE)
    browser.get("about:blank")
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(address.as_uri() if isinstance(address, Path) else address)


def open_deck(browser: Any, deck: Path, view: str = "") -> None:
    """Open a deck and wait until its slides are laid out."""
    open_page(browser, deck.as_uri() + view)
    wait_for(browser, "return document.documentElement.dataset.ready === 'yes'")


def wait_for(browser: Any, script: str, *arguments: Any, seconds: float = PATIENCE) -> Any:
    """Wait until `script` returns something that is true in JavaScript, and return it."""
    waiting = WebDriverWait(browser, seconds, poll_frequency=0.2)
    return waiting.until(lambda chrome: chrome.execute_script(script, *arguments), script)


def asked_elsewhere(browser: Any) -> list[str]:
    """The addresses off this machine that the page has asked for."""
    return [url for url in _requests(browser) if not url.startswith(LOCAL)]


def _requests(browser: Any) -> Iterator[str]:
    for entry in browser.get_log("performance"):
        event = json.loads(entry["message"])["message"]
        if event["method"] == "Network.requestWillBeSent":
            yield event["params"]["request"]["url"]


def complaints(browser: Any) -> list[str]:
    """The errors in the browser's console."""
    return [e["message"] for e in browser.get_log("browser") if e["level"] == "SEVERE"]
