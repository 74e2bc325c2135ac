"""Slides in a real browser: everything fits, everything loads, nothing is asked of a server.

Two lessons are looked at with their figures. ``pytest -m benchmark tests/browser`` does so with
the others, too, which takes as long as executing them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from looking import MISSING_IMAGES, asked_elsewhere, complaints, open_deck, wait_for
from repository import NOTEBOOKS

from cnnlab.publish.decks import write_deck

pytestmark = pytest.mark.browser
FAST = [path for path in NOTEBOOKS if path.stem[:2] in ("06", "07")]  # seconds, not minutes
SLOW = [path for path in NOTEBOOKS if path not in FAST]
TOLERANCE = 10  # pixels

SIZES = """
const smallest = (slide, what) => Math.min(99, ...[...slide.querySelectorAll(what)].map((text) =>
  parseFloat(getComputedStyle(text).fontSize) * (text.closest(".block").currentCSSZoom || 1)));
const found = [], scale = Reveal.getScale();
for (const [number, slide] of Reveal.getSlides().entries()) {
  const {h, v} = Reveal.getIndices(slide);
  Reveal.slide(h, v, 99);
  const all = [...slide.querySelectorAll("*")];
  const parts = all.filter((part) => !part.closest("aside"));
  const boxes = parts.map((part) => part.getBoundingClientRect());
  found.push({
    number: number + 1,
    right: Math.max(0, ...boxes.map((box) => box.right)) / scale,
    bottom: Math.max(0, ...boxes.map((box) => box.bottom)) / scale,
    empty: !slide.innerText.trim() && !slide.querySelector("img"),
    lowest: Math.max(0, ...[...slide.querySelectorAll(":scope > .block:not(.image)")].map(
      (block) => block.lastElementChild.getBoundingClientRect().bottom)) / scale,
    code: smallest(slide, ".highlight pre"),
    text: smallest(slide, ".text pre"),
    spoken: Boolean(Reveal.getSlideNotes(slide)),
    dollars: /\\$[^$\\n]+\\$/.test(slide.innerText),
  });
}
return found;
"""
FORMULAS = """
const formulas = [...document.querySelectorAll(".block math")];
const shown = formulas.map((each) => each.getBoundingClientRect());
return {drawn: formulas.length, broken: shown.filter((box) => !box.width || !box.height).length};
"""

# Through the window that opened it, because chromedriver hangs in one that a script has written.
OPEN_SPEAKER = """
const open = window.open;
window.open = (...all) => (window.speaker = open.apply(window, all));
Reveal.slide(2);
Reveal.getPlugin("notes").open();
"""


def look_at(deck: Path, browser: Any) -> list[dict[str, Any]]:
    """What every deck must be; returns what was measured of its slides."""
    open_deck(browser, deck)
    slides = browser.execute_script(SIZES)
    assert len(slides) >= 15
    for slide in slides:
        assert slide["right"] <= 1280 + TOLERANCE and slide["bottom"] <= 720, slide
        assert slide["lowest"] <= 690, slide  # below are the number and the arrows
        assert not slide["empty"], slide
        assert slide["code"] >= 24, slide  # 18 pt
        assert slide["text"] >= 16, slide  # the widest tables; other printed text has 22
    assert [slide["number"] for slide in slides if not slide["spoken"]] == []
    assert browser.execute_script(MISSING_IMAGES) == []
    assert browser.execute_script("return getComputedStyle(document.querySelector("
                                  "'.slide-number')).display") == "block"  # fmt: skip
    assert complaints(browser) == []
    assert asked_elsewhere(browser) == []
    return slides


@pytest.mark.parametrize("path", SLOW, ids=lambda path: path.stem)
def test_every_slide_fits_and_nothing_is_asked_of_a_server(
    path: Path, browser: Any, tmp_path: Path
) -> None:
    look_at(write_deck(nbformat.read(path, as_version=4), path, tmp_path), browser)


@pytest.mark.parametrize(
    "path",
    [*FAST, *(pytest.param(path, marks=pytest.mark.benchmark) for path in SLOW)],
    ids=lambda path: path.stem,
)
def test_so_does_every_slide_with_its_figures(
    path: Path, browser: Any, site_of: Callable[..., Path]
) -> None:
    slides = look_at(site_of(path) / "slides" / f"{path.stem}.html", browser)
    assert browser.execute_script("return document.images.length") >= 1
    unnamed = "return [...document.images].filter((image) => image.alt.length < 20).length"
    assert browser.execute_script(unnamed) == 0
    if "$" in path.read_text(encoding="utf-8"):
        assert browser.execute_script(FORMULAS)["drawn"] > 0
        assert not any(slide["dollars"] for slide in slides)


def test_slides_fill_a_larger_screen_and_fit(browser: Any, site_of: Callable[..., Path]) -> None:
    screen = {"width": 1920, "height": 1080, "deviceScaleFactor": 1, "mobile": False}
    deck = site_of(FAST[0]) / "slides" / f"{FAST[0].stem}.html"
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        look_at(deck, browser)
        assert browser.execute_script("return Reveal.getScale()") == pytest.approx(1.5, abs=0.01)
    finally:
        screen.update(width=1280, height=720)
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)


TALL = "def tall():\n" + "".join(f"    if {i}:\n        work({i})\n" for i in range(30))


def test_what_is_too_tall_is_cut_and_nothing_is_lost(browser: Any, tmp_path: Path) -> None:
    """Code goes on before a statement, printed text before a line."""
    printed = "\n".join(f"{number}: {'words ' * 9}" for number in range(60))
    cell = nbformat.v4.new_code_cell(TALL.strip())
    cell.metadata["slideshow"] = {"slide_type": "slide"}
    cell.outputs = [nbformat.v4.new_output("stream", text=printed)]
    deck = write_deck(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "x.ipynb", tmp_path)
    open_deck(browser, deck)
    slides = browser.execute_script(SIZES)
    assert all(slide["bottom"] <= 720 and slide["code"] >= 24 for slide in slides)
    read = "return [...document.querySelectorAll(arguments[0])].map((pre) => pre.textContent)"
    code = browser.execute_script(read, ".code pre")
    assert len(code) == 4 and "\n".join(part.strip("\n") for part in code) == TALL.strip()
    assert all(part.startswith("    if ") for part in code[1:])
    text = browser.execute_script(read, ".text pre")
    assert len(text) >= 3 and "\n".join(text).split() == printed.split()


def test_a_solution_waits_until_it_is_asked_for(browser: Any, site_of: Callable[..., Path]) -> None:
    open_deck(browser, site_of(FAST[0]) / "slides" / f"{FAST[0].stem}.html")
    code = """
    const title = [...document.querySelectorAll("h3")].find((h) => /^Solution/.test(h.innerText));
    const {h, v} = Reveal.getIndices(title.closest("section"));
    if (arguments[0]) Reveal.slide(h, v, -1);
    return getComputedStyle(title.closest("section").querySelector(".code")).visibility;
    """
    assert browser.execute_script(code, True) == "hidden"
    browser.execute_script("Reveal.next()")
    wait_for(browser, f"return (() => {{ {code} }})() === 'visible'")


def test_the_speaker_s_window_shows_the_notes(browser: Any, site_of: Callable[..., Path]) -> None:
    open_deck(browser, site_of(FAST[0]) / "slides" / f"{FAST[0].stem}.html")
    browser.execute_script(OPEN_SPEAKER)
    notes = "return speaker.document.querySelector('.speaker-controls-notes .value')?.innerText"
    said = browser.execute_script("return Reveal.getSlideNotes()")
    assert wait_for(browser, notes).split()[:5] == re.sub("<.*?>", " ", said).split()[:5]
    browser.execute_script("Reveal.slide(3)")
    said = browser.execute_script("return Reveal.getSlideNotes()")
    wait_for(browser, f"{notes}.startsWith(arguments[0])", re.sub("<.*?>", "", said).strip()[:20])
    assert complaints(browser) == []
    browser.execute_script("speaker.close()")


def test_the_printed_deck_has_a_page_for_every_slide(
    browser: Any, site_of: Callable[..., Path]
) -> None:
    deck = site_of(FAST[1]) / "slides" / f"{FAST[1].stem}.html"
    open_deck(browser, deck)
    slides = browser.execute_script("return Reveal.getTotalSlides()")
    open_deck(browser, deck, "?print-pdf")
    sheets = "return document.querySelectorAll('.pdf-page').length"
    assert wait_for(browser, sheets) == slides
    printed = browser.execute_cdp_cmd(
        "Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True}
    )
    pages = re.findall(rb"/Type\s*/Page\b", base64.b64decode(printed["data"]))
    assert slides <= len(pages) <= slides + 1  # and no slide takes two


def test_formulas_are_drawn(browser: Any, tmp_path: Path) -> None:
    cell = nbformat.v4.new_markdown_cell("# A\n\n$$x^2$$ and $y_1$ but not `$z$`")
    cell.metadata["slideshow"] = {"slide_type": "slide"}
    deck = write_deck(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "x.ipynb", tmp_path)
    open_deck(browser, deck)
    assert browser.execute_script(FORMULAS) == {"drawn": 2, "broken": 0}
