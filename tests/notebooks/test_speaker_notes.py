"""Speaker notes: what a lecturer finds beside the slides, and how long it takes."""

from __future__ import annotations

import re
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from repository import NOTEBOOKS

from cnnlab.publish.decks import BEGINNINGS, slides_of
from cnnlab.publish.site import minutes_by_section


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Any:
    return nbformat.read(request.param, as_version=4)


def notes_of(notebook: Any) -> list[str]:
    return [cell.metadata["notes"] for cell in notebook.cells if "notes" in cell.metadata]


def test_at_least_half_of_the_slides_have_notes(notebook: Any) -> None:
    slides = slides_of(notebook)
    assert sum(bool(slide.notes) for slide in slides) >= len(slides) / 2


def test_every_section_has_notes_on_the_slide_where_it_begins(notebook: Any) -> None:
    begins = [cell for cell in notebook.cells if re.search(r"(?m)^##? ", cell.source)]
    silent = [cell.source[:40] for cell in begins if cell.cell_type == "markdown"
              and "notes" not in cell.metadata]  # fmt: skip
    assert silent == []
    for cell in notebook.cells:  # elsewhere they would be hidden, or count a slide twice
        if "notes" in cell.metadata:
            assert cell.metadata.slideshow.slide_type in BEGINNINGS


def test_notes_begin_with_minutes_and_can_be_read_at_a_glance(notebook: Any) -> None:
    for notes in notes_of(notebook):
        assert re.match(r"\*\*[1-9]\d? min\.\*\* [A-Z*]", notes), notes[:40]
        assert 30 <= len(notes.split()) <= 120, notes[:40]


def test_the_minutes_add_up_to_the_length_that_the_title_promises(notebook: Any) -> None:
    promised = int(re.search(r"(\d+) minutes", notebook.cells[0].source)[1])
    assert sum(minutes_by_section(notebook).values()) == pytest.approx(promised, rel=0.1)


def test_a_third_of_the_notes_ask_the_room_and_say_what_to_expect(notebook: Any) -> None:
    notes = notes_of(notebook)
    asking = [words for words in notes if "*Ask:*" in words and "?" in words]
    assert len(asking) >= len(notes) / 3
    assert all("*Expect:*" in words.split("*Ask:*")[1] for words in asking)


def test_notes_say_which_exercise_is_for_the_lecture_and_which_for_the_lab(notebook: Any) -> None:
    prompts = [cell for cell in notebook.cells if "### Exercise" in cell.source]
    places = [re.search(r"\b(Lecture|Lab): ", cell.metadata.get("notes", "")) for cell in prompts]
    assert all(places)
    assert {place[1] for place in places if place} == {"Lecture", "Lab"}


def test_minutes_are_added_up_under_the_last_heading() -> None:
    def spoken(words: str) -> dict[str, str]:
        return {"notes": words}

    cells = [
        new_markdown_cell("# Title", metadata=spoken("**2 min.** Hello.")),
        new_markdown_cell("**What you saw.**\n\n## 1 · One", metadata=spoken("**3 min.** A.")),
        new_code_cell("# no heading", metadata=spoken("**4 min.** Run it.")),
        new_markdown_cell("### Exercise", metadata=spoken("No time, 9 min. at home.")),
        new_markdown_cell("## 2 · Two"),
        new_markdown_cell("text", metadata=spoken("**12 min.** B.")),
    ]
    minutes = minutes_by_section(new_notebook(cells=cells))
    assert minutes == {"Title": 2, "1 · One": 7, "2 · Two": 12}
