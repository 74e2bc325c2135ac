"""Pages that need no other file and no other server."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from cnnlab.publish.pages import settled, static_widgets, write_page

PICTURE = b"the bytes of a picture"


@pytest.fixture(scope="module")
def with_widgets() -> Any:
    bar = "from tqdm.notebook import tqdm\nfor _ in tqdm(range(5), desc='a<b'): pass"
    slider = "from ipywidgets import interact\ninteract(lambda x: None, x=(0, 3));"
    form = "import cnnlab\nfrom cnnlab.exercises import summary\ncnnlab.quiz_form(summary.QUIZ)"
    notebook = new_notebook(cells=[new_code_cell(code) for code in (bar, slider, form)])
    return NotebookClient(notebook).execute()


def test_a_progress_bar_becomes_its_last_words(with_widgets: Any) -> None:
    output = static_widgets(with_widgets).cells[0].outputs[0]
    assert list(output.data) == ["text/plain"]
    assert re.match(r"a<b:\s100%\s5/5\s\[00:00", output.data["text/plain"])


@pytest.mark.parametrize("cell", [1, 2])
def test_a_slider_and_a_form_become_a_note(with_widgets: Any, cell: int) -> None:
    output = static_widgets(with_widgets).cells[cell].outputs[0]
    assert output.data["text/plain"] == "(interactive: open the notebook to use it)"
    assert "widgets" in with_widgets.metadata, "the notebook itself stays as it was"


def test_a_page_asks_other_servers_for_nothing(with_widgets: Any, tmp_path: Path) -> None:
    text = write_page(with_widgets, tmp_path / "x.ipynb", tmp_path).read_text(encoding="utf-8")
    asked = re.findall(r"<(?:script|link|img|iframe)[^>]*\s(?:src|href)=\"(http[^\"]*)", text)
    assert asked == []
    assert "import(" not in text


def test_formulas_bring_what_they_need(tmp_path: Path) -> None:
    pages = {}
    for text in ("no formula", "a formula: $x^2$"):
        notebook = new_notebook(cells=[new_markdown_cell(text)])
        pages[text] = write_page(notebook, tmp_path / "x.ipynb", tmp_path).read_text("utf-8")
    assert [len(page) > 2_000_000 for page in pages.values()] == [False, True]


def test_pictures_beside_the_notebook_go_into_the_page(tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(PICTURE)
    notebook = new_notebook(cells=[new_markdown_cell("![a dot](dot.png)")])
    text = write_page(notebook, tmp_path / "x.ipynb", tmp_path / "build").read_text("utf-8")
    assert f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}" in text


def test_an_answer_in_a_list_stays_folded(tmp_path: Path) -> None:
    answer = "<details><summary>Answer</summary>Not *yet*.</details>"
    notebook = new_notebook(cells=[new_markdown_cell(f"1. Why? {answer}\n2. How?")])
    text = write_page(notebook, tmp_path / "x.ipynb", tmp_path).read_text("utf-8")
    assert answer.replace("*yet*", "<em>yet</em>") in text


def test_a_hidden_cell_is_folded_but_its_output_is_not(tmp_path: Path) -> None:
    cell = new_code_cell(
        "#@title Set-up <b>\nprint('out')",
        metadata={"jupyter": {"source_hidden": True}},
        outputs=[new_output("stream", text="out")],
    )
    text = write_page(new_notebook(cells=[cell]), tmp_path / "x.ipynb", tmp_path).read_text("utf-8")
    folded = re.search(r"<details>(.*?)</details>", text, re.DOTALL)
    assert folded and "<summary> Set-up &lt;b&gt;</summary>" in folded[1]
    assert "<pre>out</pre>" in text.replace("\n", "") and "<pre>out" not in folded[1]


def test_a_page_that_cannot_be_put_in_its_place_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "x.html").mkdir()
    with pytest.raises(OSError):
        write_page(new_notebook(), tmp_path / "x.ipynb", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["x.html"]


def test_only_the_last_state_of_a_progress_bar_is_kept() -> None:
    stream = {"output_type": "stream", "name": "stdout"}
    outputs = [
        stream | {"text": text} for text in ("before\n\r 0%", "\r50%", "\r100%\n", "after\n")
    ]
    assert [output["text"] for output in settled(outputs)] == ["before\n100%\nafter\n"]
