"""Whoever cannot see an image is told what it shows: on pages and slides of executed lessons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from executed import executed
from repository import NOTEBOOKS

from cnnlab.publish.decks import write_deck
from cnnlab.publish.pages import write_page


@pytest.mark.parametrize("write", [write_page, write_deck])
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_image_of_a_lesson_says_what_it_shows(
    path: Path, write: Callable[..., Path], tmp_path: Path
) -> None:
    notebook = executed(path)
    html = write(notebook, path, tmp_path).read_text(encoding="utf-8")
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    described: list[Any] = [
        output.metadata["image/png"]["alt"]
        for output in outputs
        if "image/png" in output.get("data", {}) and "text/html" not in output.data
    ]
    images = BeautifulSoup(html, "html.parser").select("img")
    shown = [image["alt"] for image in images if image["src"].startswith("data:image/png")]
    assert described and shown == described
    assert all(len(alt) > 20 for alt in shown)
