"""The web site, walked: every link leads somewhere, every picture loads, no server is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlparse

import pytest
from looking import MISSING_IMAGES, asked_elsewhere, complaints, open_page, wait_for
from repository import NOTEBOOKS

pytestmark = pytest.mark.browser
LESSONS = [path for path in NOTEBOOKS if path.stem[:2] in ("06", "07")]
LINKS = "return [...document.querySelectorAll('a[href]')].map((link) => link.href)"

ANCHOR = """
const name = arguments[0];
return [name, decodeURIComponent(name)].some((id) => document.getElementById(id) !== null);
"""


def test_every_page_loads_whole_and_every_link_leads_somewhere(
    browser: Any, site_of: Callable[..., Path]
) -> None:
    start = site_of(*LESSONS) / "index.html"
    waiting, seen, outside = [start.as_uri()], set(), set()
    while waiting:
        page = waiting.pop()
        seen.add(page)
        open_page(browser, page)
        wait_for(browser, "return document.readyState === 'complete'")
        assert browser.execute_script(MISSING_IMAGES) == [], page
        assert complaints(browser) == [], page
        assert asked_elsewhere(browser) == [], page
        for link in browser.execute_script(LINKS):
            address, part = urldefrag(link)
            if not address.startswith("file:"):
                outside.add(address)
                continue
            assert Path(unquote(urlparse(address).path)).is_file(), f"{page} links to {link}"
            if address == page and part and not part.startswith("/"):  # reveal.js's own are #/2/1
                assert browser.execute_script(ANCHOR, part), f"{page} has no {part}"
            if address not in seen | set(waiting):
                waiting.append(address)
    names = {"index.html", *(f"{path.stem}.html" for path in LESSONS)}
    assert {Path(urlparse(page).path).name for page in seen} == names
    assert len(seen) == 1 + 2 * len(LESSONS)  # the index; pages and slides
    assert all(address.startswith("https://") for address in outside)


def test_a_card_shows_picture_question_minutes_and_outcomes(
    browser: Any, site_of: Callable[..., Path]
) -> None:
    open_page(browser, site_of(*LESSONS) / "index.html")
    cards = browser.execute_script(
        "return [...document.querySelectorAll('article')].map((card) => ({"
        "  text: card.innerText, alt: card.querySelector('img').alt,"
        "  outcomes: card.querySelectorAll('li').length,"
        "  width: card.querySelector('img').getBoundingClientRect().width}))"
    )
    assert len(cards) == len(LESSONS)
    for card in cards:
        assert "?" in card["text"] and "minutes" in card["text"]
        assert 3 <= card["outcomes"] <= 5
        assert len(card["alt"]) > 20 and card["width"] > 300
