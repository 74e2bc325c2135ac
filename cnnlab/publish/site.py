"""A small web site: the executed lessons, their slides, and an index with a card for each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from bs4 import BeautifulSoup

from cnnlab.publish.decks import render, write_deck
from cnnlab.publish.pages import markdown_to_html, write_page
from cnnlab.runtime import write_atomically

__all__ = ["minutes_by_section", "write_index", "write_lesson"]


def write_lesson(notebook: Any, source: Path, folder: Path) -> Path:
    """Write an executed notebook as a page, and as slides in the folder ``slides`` beside it.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    OSError
        When one of them cannot be written.
    """
    write_deck(notebook, source, folder / "slides")
    return write_page(notebook, source, folder)


# What a command writes of each notebook, and what the cards of its index link to.
WRITERS = {"run": write_page, "slides": write_deck, "site": write_lesson}
LINKS = {"slides": {"Slides": ""}, "site": {"Lesson": "", "Slides": "slides/"}}


def write_index(sources: Iterable[Path], folder: Path, links: dict[str, str]) -> Path:
    """Write ``index.html``: a card with links for each lesson that is in `folder`.

    Parameters
    ----------
    sources : iterable of Path
        The notebooks, in order; those that have no page in `folder` are left out.
    folder : Path
        Where the pages or decks are.
    links : dict
        What stands on a link -> the folder of its file, seen from `folder`, such as ``slides/``.

    Returns
    -------
    Path
        The index. A stamped notebook brings its link to Colab along.
    """
    there = [source for source in sources if (folder / f"{source.stem}.html").is_file()]
    cards = [_card(source, folder, links) for source in there]
    return write_atomically(folder / "index.html", render("index.html.j2", cards=cards))


def _card(source: Path, folder: Path, links: dict[str, str]) -> dict[str, Any]:
    """Collect a lesson's title, question, outcomes, minutes and image.

    A notebook that does not begin with a title is called by the name of its file.
    """
    notebook = nbformat.read(source, as_version=4)
    prose = [cell.source if cell.cell_type == "markdown" else "" for cell in notebook.cells]
    first, second, *_ = [*prose, "", ""]
    title, _, about = first.partition("\n") if first.startswith("# ") else (source.stem, "", "")
    page = BeautifulSoup((folder / f"{source.stem}.html").read_text("utf-8"), "html.parser")
    return {
        "title": title.removeprefix("# "),
        "about": markdown_to_html(about),
        "outcomes": markdown_to_html("".join(re.findall(r"(?m)^- .*\n?", second))),
        "minutes": minutes_by_section(notebook),
        "links": {name: f"{place}{source.stem}.html" for name, place in links.items()},
        "image": page.select_one(".celltag_cover img") or page.select_one("img"),
    }


def minutes_by_section(notebook: Any) -> dict[str, int]:
    """Add up the minutes with which the speaker notes begin, section by section.

    Parameters
    ----------
    notebook : NotebookNode
        A cell's ``notes`` begin like ``**4 min.**``; a cell without notes takes no time.

    Returns
    -------
    dict
        Heading, as written after ``#`` or ``##`` -> minutes, in the order of the lesson.

    Examples
    --------
    >>> from nbformat.v4 import new_markdown_cell, new_notebook
    >>> spoken = {"notes": "**4 min.** Nobody needs a formula yet."}
    >>> minutes_by_section(new_notebook(cells=[new_markdown_cell("## 1 · Why", metadata=spoken)]))
    {'1 · Why': 4}
    """
    minutes: dict[str, int] = {}
    section = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            section = (re.findall(r"(?m)^##? (.*)", cell.source) or [section])[-1]
        if said := re.match(r"\*\*(\d+) min\.\*\*", cell.metadata.get("notes", "")):
            minutes[section] = minutes.get(section, 0) + int(said[1])
    return minutes
