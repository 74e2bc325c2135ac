"""The web site: a page, slides and a card for every lesson that was executed."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from repository import ROOT

from cnnlab.publish.site import WIDTH, write_lesson, write_site_index


def picture(color: str, alt: str) -> Any:
    buffer = io.BytesIO()
    Image.new("RGB", (2 * WIDTH, 100), color).save(buffer, "PNG")
    data = {"image/png": base64.b64encode(buffer.getvalue()).decode()}
    return new_output("display_data", data, metadata={"image/png": {"alt": alt}})


@pytest.fixture
def lesson(tmp_path: Path) -> Path:
    cells = [
        new_markdown_cell("# 01 · Ants\n\n**Why six legs?**\n\n*5 minutes*"),
        new_markdown_cell(
            "## After this\n\n- **count** legs", metadata={"notes": "**2 min.** Ask."}
        ),
        new_code_cell("1", outputs=[picture("red", "a red one")]),
        new_code_cell("2", outputs=[picture("blue", 'a "blue" one')]),
    ]
    source = tmp_path / "01_ants.ipynb"
    nbformat.write(new_notebook(cells=cells), source)
    return source


def build(source: Path, folder: Path) -> str:
    write_lesson(nbformat.read(source, as_version=4), source, folder)
    return write_site_index([source, source.with_name("02_bees.ipynb")], folder).read_text("utf-8")


def test_a_card_holds_all_that_there_is(lesson: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    text = build(lesson, folder)
    for piece in ("01 · Ants", "Why six legs?", "5 minutes", "<strong>count</strong> legs"):
        assert piece in text
    assert "<td>After this</td><td>2</td>" in text
    assert 'alt="a red one" width="720" height="50"' in text, "the first picture"
    for link in (
        "01_ants.html",
        "slides/01_ants.html",
        "slides/index.html",
        "pictures/01_ants.png",
    ):
        assert f'"{link}"' in text and (folder / link).is_file()
    assert "02_bees" not in text, "it has no page"


def test_the_tag_cover_chooses_the_picture(lesson: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(lesson, as_version=4)
    notebook.cells[3].metadata["tags"] = ["cover"]
    nbformat.write(notebook, lesson)
    assert 'alt="a &#34;blue&#34; one"' in build(lesson, tmp_path / "site")
    with Image.open(tmp_path / "site" / "pictures" / "01_ants.png") as image:
        assert image.getpixel((5, 5)) == (0, 0, 255)


def test_a_lesson_without_a_picture_has_a_card_without_one(lesson: Path, tmp_path: Path) -> None:
    build(lesson, tmp_path / "site")
    notebook = nbformat.read(lesson, as_version=4)
    notebook.cells = notebook.cells[:2]
    nbformat.write(notebook, lesson)
    text = build(lesson, tmp_path / "site")
    assert "<img" not in text and not list((tmp_path / "site" / "pictures").iterdir())


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
