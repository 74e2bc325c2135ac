"""Slides in a real browser: everything fits, everything loads, nothing is asked of a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from selenium.webdriver.support.ui import WebDriverWait

from cnnlab.decks import write_deck

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").rglob("*.ipynb"))
TOLERANCE = 10  # pixels

SIZES = """
const found = [], scale = Reveal.getScale();
for (const [number, slide] of Reveal.getSlides().entries()) {
  const {h, v} = Reveal.getIndices(slide);
  Reveal.slide(h, v, 99);
  const all = [...slide.querySelectorAll("*")];
  const parts = all.filter((part) => !part.closest("aside, mjx-assistive-mml"));
  const boxes = parts.map((part) => part.getBoundingClientRect());
  found.push({
    number: number + 1,
    right: Math.max(0, ...boxes.map((box) => box.right)) / scale,
    bottom: Math.max(0, ...boxes.map((box) => box.bottom)) / scale,
    empty: !slide.innerText.trim() && !slide.querySelector("img"),
    code: Math.min(99, ...[...slide.querySelectorAll(".code pre")].map((code) =>
      parseFloat(getComputedStyle(code).fontSize) * (code.closest(".block").currentCSSZoom || 1))),
  });
}
return found;
"""


def open_deck(browser: Any, deck: Path) -> None:
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(deck.as_uri())
    ready = "return document.documentElement.dataset.ready"
    WebDriverWait(browser, 60).until(lambda chrome: chrome.execute_script(ready) == "yes")


def asked_elsewhere(browser: Any) -> list[str]:
    """The addresses off this machine that the page has asked for."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [
        e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in urls if not url.startswith(("file:", "data:", "blob:"))]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_slide_fits_and_nothing_is_asked_of_a_server(
    path: Path, browser: Any, tmp_path: Path
) -> None:
    open_deck(browser, write_deck(nbformat.read(path, as_version=4), path, tmp_path))
    slides = browser.execute_script(SIZES)
    assert len(slides) >= 15
    for slide in slides:
        assert slide["right"] <= 1280 + TOLERANCE and slide["bottom"] <= 720, slide
        assert not slide["empty"], slide
        assert slide["code"] >= 24, slide  # 18 pt
    assert [e for e in browser.get_log("browser") if e["level"] == "SEVERE"] == []
    assert asked_elsewhere(browser) == []


def test_formulas_are_drawn(browser: Any, tmp_path: Path) -> None:
    cell = nbformat.v4.new_markdown_cell("# A\n\n$$x^2$$ and $y_1$ but not `$z$`")
    cell.metadata["slideshow"] = {"slide_type": "slide"}
    deck = write_deck(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "x.ipynb", tmp_path)
    open_deck(browser, deck)
    count = "return document.querySelectorAll('mjx-container svg').length"
    assert browser.execute_script(count) == 2
