"""A small web site: the executed lessons, their slides, and an index with a card for each."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from PIL import Image, PngImagePlugin

from cnnlab.publish.decks import introduction, minutes_by_section, render, write_deck, write_index
from cnnlab.publish.pages import write_page, write_whole

__all__ = ["write_lesson", "write_site_index"]

COVER = "cover"  # the tag of the cell whose picture stands on the card of its lesson
WIDTH = 720  # pixels of that picture


def write_lesson(notebook: Any, source: Path, folder: Path) -> Path:
    """Write an executed notebook as a page, as slides and as the picture on its card.

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
    _write_cover(notebook, folder / "pictures" / f"{source.stem}.png")
    return write_page(notebook, source, folder)


def _write_cover(notebook: Any, target: Path) -> None:
    """Keep the picture of the tagged cell, or else the first one, with its description."""
    cells = sorted(notebook.cells, key=lambda cell: COVER not in cell.metadata.get("tags", []))
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    pictures = [each for each in outputs if "image/png" in each.get("data", {})]
    if not pictures:
        target.unlink(missing_ok=True)
        return
    image = Image.open(io.BytesIO(base64.b64decode(pictures[0].data["image/png"]))).convert("RGB")
    image.thumbnail((WIDTH, WIDTH), Image.Resampling.LANCZOS)
    words = PngImagePlugin.PngInfo()
    alt = pictures[0].metadata.get("image/png", {}).get("alt", "")
    words.add_itxt("Description", alt)
    target.parent.mkdir(parents=True, exist_ok=True)
    image.save(target, pnginfo=words, optimize=True)


def write_site_index(sources: Iterable[Path], folder: Path) -> Path:
    """Write the index of the site, and that of its slides: a card for each lesson that is there.

    Parameters
    ----------
    sources : iterable of Path
        The notebooks of the series, in order; those that have no page in `folder` are left out.
    folder : Path
        Where `write_lesson` wrote.

    Returns
    -------
    Path
        ``index.html``. A stamped notebook brings its link to Colab along.
    """
    there = [source for source in sources if (folder / f"{source.stem}.html").is_file()]
    cards = [_card(source, folder) for source in there]
    decks = {source: folder / "slides" / f"{source.stem}.html" for source in there}
    write_index(decks, folder / "slides")
    return write_whole(render("site.html.j2", cards=cards), folder / "index.html")


def _card(source: Path, folder: Path) -> dict[str, Any]:
    title, about, outcomes = introduction(source)
    card: dict[str, Any] = {
        "name": source.stem,
        "title": title,
        "about": about,
        "outcomes": outcomes,
    }
    card["sections"] = minutes_by_section(nbformat.read(source, as_version=4))
    picture = folder / "pictures" / f"{source.stem}.png"
    if picture.is_file():
        with Image.open(picture) as image:
            card["picture"] = {"alt": image.info.get("Description", ""), "size": image.size}
    return card
