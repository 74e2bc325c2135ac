"""The web site: a page, slides and a card for every lesson that was executed."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from repository import ROOT

from cnnlab.publish.site import LINKS, write_index, write_lesson


def image(color: str, alt: str) -> Any:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), color).save(buffer, "PNG")
    data = {"image/png": base64.b64encode(buffer.getvalue()).decode()}
    return new_output("display_data", data, metadata={"image/png": {"alt": alt}})


@pytest.fixture
def lesson(tmp_path: Path) -> Path:
    cells = [
        new_markdown_cell("# 01 · Ants\n\n**Why six legs?**\n\n*5 minutes*"),
        new_markdown_cell(
            "## After this\n\n- **count** $6$ legs", metadata={"notes": "**2 min.** Ask."}
        ),
        new_code_cell("1", outputs=[image("red", "a red one")]),
        new_code_cell("2", outputs=[image("blue", 'a "blue" one')]),
    ]
    source = tmp_path / "01_ants.ipynb"
    nbformat.write(new_notebook(cells=cells), source)
    return source


def build(source: Path, folder: Path) -> BeautifulSoup:
    write_lesson(nbformat.read(source, as_version=4), source, folder)
    sources = [source, source.with_name("02_bees.ipynb")]
    index = write_index(sources, folder, LINKS["site"])
    return BeautifulSoup(index.read_text(encoding="utf-8"), "html.parser")


def test_a_card_holds_all_that_there_is(lesson: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    (card,) = build(lesson, folder).select("article")  # 02_bees has no page
    text = card.get_text(" ", strip=True)
    for piece in ("01 · Ants", "Why six legs?", "5 minutes", "Minutes by section After this 2"):
        assert piece in text
    assert str(card.li).startswith("<li><strong>count</strong> <math")
    assert card.img["alt"] == "a red one", "the first image"
    assert [link.get_text() for link in card.select("nav a")] == ["Lesson", "Slides"]
    assert all((folder / link["href"]).is_file() for link in card.select("a"))


def test_the_index_of_slides_links_slides_only(lesson: Path, tmp_path: Path) -> None:
    build(lesson, tmp_path)
    index = write_index([lesson], tmp_path / "slides", LINKS["slides"])
    (link,) = BeautifulSoup(index.read_text(encoding="utf-8"), "html.parser").select("a")
    assert (link.get_text(), (index.parent / link["href"]).is_file()) == ("Slides", True)


def test_the_tag_cover_chooses_the_image(lesson: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(lesson, as_version=4)
    notebook.cells[3].metadata["tags"] = ["cover"]
    nbformat.write(notebook, lesson)
    found = build(lesson, tmp_path / "site").img
    assert found["alt"] == 'a "blue" one'
    pixels = base64.b64decode(found["src"].split(",")[1])
    assert Image.open(io.BytesIO(pixels)).getpixel((5, 5)) == (0, 0, 255)


@pytest.mark.parametrize("cells", [[], [new_code_cell("1")], [new_markdown_cell("no heading")]])
def test_a_notebook_without_title_and_image_has_a_plain_card(
    cells: list[Any], tmp_path: Path
) -> None:
    path = tmp_path / "02_bees.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    card = build(path, tmp_path / "site").article
    assert card.h2.get_text() == "02_bees" and card.img is None and card.details is None


def test_every_lesson_has_at_most_one_cover() -> None:
    for path in ROOT.glob("notebooks/*/*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        assert sum("cover" in cell.metadata.get("tags", []) for cell in cells) <= 1, path


def test_the_workflow_builds_the_site_with_pinned_actions() -> None:
    text = (ROOT / ".github" / "workflows" / "site.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    assert any("cnnlab site" in step.get("run", "") for step in steps)
    uses = [step["uses"] for step in steps if "uses" in step]
    assert all(len(action.split("@")[1]) == 40 for action in uses)
    (upload,) = [s["with"]["path"] for s in steps if "upload-pages" in s.get("uses", "")]
    assert upload == "build/site"
