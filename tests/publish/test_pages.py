"""Pages that need no other file and no other server."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from repository import NOTEBOOKS

from cnnlab.publish.pages import markdown_to_html, settled, write_page

PICTURE = b"the bytes of a picture"


@pytest.fixture(scope="module")
def with_widgets() -> Any:
    bar = "from tqdm.notebook import tqdm\nfor _ in tqdm(range(5), desc='a<b'): pass"
    slider = "from ipywidgets import interact\ninteract(lambda x: None, x=(0, 3));"
    form = "import ipywidgets as w\nw.VBox([w.HBox([w.Label('Why?'), w.Button()]), w.Text()])"
    notebook = new_notebook(cells=[new_code_cell(code) for code in (bar, slider, form)])
    return NotebookClient(notebook).execute()


def test_a_progress_bar_becomes_its_last_words(with_widgets: Any) -> None:
    output = settled(with_widgets).cells[0].outputs[0]
    assert list(output.data) == ["text/plain"]
    assert re.match(r"a<b:\s100%\s5/5\s\[00:00", output.data["text/plain"])


@pytest.mark.parametrize("cell", [1, 2])
def test_a_slider_and_a_form_become_a_note(with_widgets: Any, cell: int) -> None:
    output = settled(with_widgets).cells[cell].outputs[0]
    assert output.data["text/plain"] == "(interactive: open the notebook to use it)"
    assert "widgets" in with_widgets.metadata, "the notebook itself stays as it was"


def test_a_page_asks_other_servers_for_nothing(with_widgets: Any, tmp_path: Path) -> None:
    text = write_page(with_widgets, tmp_path / "x.ipynb", tmp_path).read_text(encoding="utf-8")
    asked = re.findall(r"<(?:script|link|img|iframe)[^>]*\s(?:src|href)=\"(http[^\"]*)", text)
    assert asked == []
    assert "import(" not in text


def page_of(*cells: Any, folder: Path) -> str:
    notebook = new_notebook(cells=list(cells))
    return write_page(notebook, folder / "x.ipynb", folder / "build").read_text(encoding="utf-8")


def test_formulas_are_mathml_and_need_no_script(tmp_path: Path) -> None:
    source = "let $x^2$ be\n\n$$\\begin{pmatrix}1 & 2\\\\ 3 & 4\\end{pmatrix}$$\n"
    text = page_of(new_markdown_cell(source), folder=tmp_path)
    body = BeautifulSoup(text, "html.parser")
    inline, block = body.select("math")
    assert (inline["display"], block["display"]) == ("inline", "block")
    assert inline.find("msup").get_text(" ") == "x 2"
    assert [cell.get_text() for cell in block.select("mtd")] == ["1", "2", "3", "4"]
    assert "MathJax" not in text and len(text) < 1_000_000


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        (r"it costs \$5, not \$6", "it costs $5, not $6"),
        ("from $5 to $6", "from $5 to $6"),
        ("`$x$` is code", "$x$ is code"),
        ("    $x$ = 3", "$x$ = 3"),
        ("a typo, $x^2^3$, stays", "a typo, x^2^3, stays"),
    ],
)
def test_dollars_that_are_no_formula_stay(source: str, shown: str) -> None:
    html = markdown_to_html(source)
    assert "<math" not in html
    assert BeautifulSoup(html, "html.parser").get_text().strip() == shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_formula_of_a_lesson_becomes_mathml(path: Path) -> None:
    prose = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"]
    html = "".join(markdown_to_html(source) for source in prose)
    dollars = re.findall(r"\$\$|\$", re.sub(r"(?s)```.*?```|`[^`]*`|\\\$", "", "".join(prose)))
    assert html.count("<math") == len(dollars) / 2
    left = BeautifulSoup(html, "html.parser")
    for part in left.select("code, math"):
        part.decompose()
    assert not re.search(r"[\\^]|_\{", left.get_text())


def test_the_alternative_text_of_an_image_is_on_the_page(tmp_path: Path) -> None:
    words = 'an "ant" & a bee'
    images = [
        new_output("display_data", {kind: "AAAA"}, metadata={kind: {"alt": words, "width": 7}})
        for kind in ("image/png", "image/jpeg")
    ]
    text = page_of(new_code_cell("draw()", outputs=images), folder=tmp_path)
    found = BeautifulSoup(text, "html.parser").select("img")
    assert [(image["alt"], image["width"]) for image in found] == [(words, "7")] * 2


def test_an_image_pasted_into_prose_is_on_the_page(tmp_path: Path) -> None:
    cell = new_markdown_cell("![a dot](attachment:dot.png)")
    cell["attachments"] = {"dot.png": {"image/png": "AAAA"}}
    assert 'src="data:image/png;base64,AAAA"' in page_of(cell, folder=tmp_path)


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
    texts = ("before\n\r 0%", "\r50%", "\r100%\n", "after\n")
    outputs = [new_output("stream", text=text) for text in texts]
    notebook = new_notebook(cells=[new_code_cell("1", outputs=outputs)])
    (output,) = settled(notebook).cells[0].outputs
    assert output.text == "before\n100%\nafter\n"
    assert len(notebook.cells[0].outputs) == 4, "the notebook itself stays as it was"
