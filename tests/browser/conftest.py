"""A browser, and a site of lessons that were executed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from executed import executed

from cnnlab.publish.site import LINKS, write_index, write_lesson


@pytest.fixture(scope="session")
def site_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes pages and slides of lessons, executed once in a run of pytest; returns the folder."""
    folder = tmp_path_factory.mktemp("site")

    def write(*notebooks: Path) -> Path:
        for path in notebooks:
            if not (folder / f"{path.stem}.html").exists():
                write_lesson(executed(path), path, folder)
        write_index(notebooks, folder, LINKS["site"])
        return folder

    return write


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium at 1280 × 720 for the tests of one file, or a skip where it is not installed."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for option in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
    ):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    screen = {"width": 1280, "height": 720, "deviceScaleFactor": 1, "mobile": False}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    yield chrome
    chrome.quit()
