"""axe-core on a page, a deck and the index: no serious violation."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import distribution
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from looking import open_deck, open_page, wait_for
from repository import NOTEBOOKS

pytestmark = pytest.mark.browser
LESSONS = [path for path in NOTEBOOKS if path.stem[:2] in ("06", "07")]
PAGE = f"{LESSONS[0].stem}.html"
AXE = distribution("axe-playwright-python").locate_file("axe_playwright_python/axe.min.js")
RUN = """
const done = arguments[arguments.length - 1];
const part = arguments[0] ? Reveal.getCurrentSlide() : document;
axe.run(part, {resultTypes: ["violations"]}).then((found) => done(found.violations.map(
  (each) => ({id: each.id, impact: each.impact, count: each.nodes.length,
              first: each.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)
                + " " + node.failureSummary.slice(0, 300))}))));
"""


def serious(browser: Any, slide: bool = False) -> list[dict[str, Any]]:
    if not browser.execute_script("return 'axe' in window"):
        browser.execute_script(Path(str(AXE)).read_text(encoding="utf-8"))
    found = browser.execute_async_script(RUN, slide)
    return [each for each in found if each["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("name", ["index.html", PAGE])
def test_a_page_has_no_serious_violation(
    name: str, browser: Any, site_of: Callable[..., Path]
) -> None:
    open_page(browser, site_of(*LESSONS) / name)
    wait_for(browser, "return document.readyState === 'complete'")
    assert serious(browser) == []


def test_no_slide_has_a_serious_violation(browser: Any, site_of: Callable[..., Path]) -> None:
    open_deck(browser, site_of(*LESSONS) / "slides" / PAGE)
    browser.execute_script(
        "const style = document.head.appendChild(document.createElement('style'));"
        "style.textContent = '* { transition: none !important; animation: none !important }'"
    )  # a color half-way through a fade is nobody's choice
    for number in range(0, browser.execute_script("return Reveal.getTotalSlides()"), 2):
        browser.execute_script(
            "const {h, v} = Reveal.getIndices(Reveal.getSlides()[arguments[0]]);"
            "Reveal.slide(h, v, 99)", number,
        )  # fmt: skip
        assert serious(browser, slide=True) == [], f"slide {number + 1}"


def test_headings_of_a_page_do_not_jump(browser: Any, site_of: Callable[..., Path]) -> None:
    open_page(browser, site_of(*LESSONS) / PAGE)
    levels = browser.execute_script(
        "return [...document.querySelectorAll('h1,h2,h3,h4,h5,h6')].map((h) => +h.tagName[1])"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
