"""Slides: what the slide types say, in one file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from cnnlab.publish.decks import TEXT_WIDTH, slides_of, write_deck

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQ"
    "VR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)


def cell(make: Any, source: str, kind: str, **metadata: Any) -> Any:
    made = make(source)
    made.metadata.update({"slideshow": {"slide_type": kind}, **metadata})
    return made


@pytest.fixture
def notebook() -> Any:
    picture = new_output("display_data", {"image/png": PIXEL, "text/plain": "<Figure>"})
    picture.metadata["image/png"] = {"alt": 'a "dot" & more'}
    cells = [
        cell(new_markdown_cell, "# Title\n**Why?**", "slide", notes="2 min. Ask *why*."),
        cell(new_markdown_cell, "- **see** what a slide is", "slide"),
        cell(new_code_cell, "# @title Set-up", "skip"),
        cell(new_markdown_cell, "## A $x^2$\n\nclaim", "slide"),
        cell(new_code_cell, "print('code')", "subslide"),
        cell(new_markdown_cell, "seen\n\n### Exercise\n\ndo it", "fragment"),
        cell(new_code_cell, "hidden()", "fragment", jupyter={"source_hidden": True}),
    ]
    cells[4].outputs = [new_output("stream", text="1\n\n2\n"), picture]
    cells[6].outputs = [new_output("display_data", {"text/html": "<details>solution</details>"})]
    return new_notebook(cells=cells)


def test_slide_types_begin_slides_and_fragments_wait(notebook: Any) -> None:
    slides = slides_of(notebook)
    assert [slide.is_new_topic for slide in slides] == [True, True, True, False]
    assert slides[0].notes.strip() == "<p>2 min. Ask <em>why</em>.</p>"
    last = slides[-1].blocks
    assert [block.kind for block in last] == [
        "code", "text", "text", "image", "prose", "prose", "prose",
    ]  # fmt: skip
    assert [block.fragment for block in last] == [False] * 4 + [True, False, True]


def test_skipped_cells_and_hidden_code_are_not_shown(notebook: Any) -> None:
    shown = "".join(block.html for slide in slides_of(notebook) for block in slide.blocks)
    assert "Set-up" not in shown and "hidden()" not in shown and "solution" in shown


def test_long_sentences_are_wrapped_and_tables_are_not() -> None:
    row = "ResNet-50   " + "25.56 M      " * 8
    shown = new_code_cell("report()", outputs=[
        new_output("stream", text=f"{row}\n\n{'a few words ' * 20}\nshort\n")
    ])  # fmt: skip
    (slide,) = slides_of(new_notebook(cells=[shown]))
    table, words = [re.sub("<.*?>", "", block.html) for block in slide.blocks[1:]]
    assert table == row
    lines = words.split("\n")
    assert lines[-1] == "short" and max(map(len, lines)) <= TEXT_WIDTH
    assert all(re.match(r" {4}\w", line) for line in lines[1:-1])
    assert " ".join(lines[:-1]).split() == ("a few words " * 20).split()


def test_source_that_a_lesson_shows_is_marked_as_such() -> None:
    from IPython.display import Code

    text = "def f():\n    return 1\n"
    data = {"text/html": Code(text, language="python")._repr_html_(), "text/plain": text}
    shown = new_code_cell("show_source(f)", outputs=[new_output("display_data", data)])
    (slide,) = slides_of(new_notebook(cells=[shown]))
    assert [block.kind for block in slide.blocks] == ["code", "source"]
    assert re.sub("<.*?>", "", slide.blocks[1].html).strip() == text.strip()


def test_an_error_is_on_the_slide_without_its_colors() -> None:
    error = new_output(
        "error", ename="ValueError", evalue="no", traceback=["\x1b[31mValueError\x1b[0m: no < 1"]
    )
    (slide,) = slides_of(new_notebook(cells=[new_code_cell("f()", outputs=[error])]))
    assert slide.blocks[-1].html == "<pre>ValueError: no &lt; 1</pre>"


def test_a_solution_has_a_slide_of_its_own_and_waits() -> None:
    shown = "<style>p{}</style><details><summary>Show</summary><pre>a &lt; <b>b</b></pre></details>"
    output = new_output("display_data", {"text/html": shown})
    solution = cell(new_code_cell, "# @title Solution of 1\nex()", "skip", tags=["solution"])
    assert slides_of(new_notebook(cells=[solution])) == [], "there is none before it was run"
    solution.outputs = [output]
    (slide,) = slides_of(new_notebook(cells=[solution]))
    title, code = slide.blocks
    assert title.html == "<h3>Solution of 1</h3>" and not title.fragment
    assert code.kind == "code" and code.fragment
    assert re.sub("<.*?>", "", code.html).strip() == "a &lt; b"


def test_a_deck_is_one_file_that_asks_no_server(notebook: Any, tmp_path: Path) -> None:
    deck = write_deck(notebook, tmp_path / "01_x.ipynb", tmp_path)
    text = deck.read_text(encoding="utf-8")
    assert deck.name == "01_x.html" and "{{" not in text.split("<script>")[0]
    html = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert re.findall(r"<(?:script|link|img|iframe)[^>]*\s(?:src|href)=\"(?!data:)", html) == []
    assert "sourceMappingURL" not in text, "with its developer tools open, a browser asks for it"
    assert 'alt="a &quot;dot&quot; &amp; more"' in text
    assert text.count('<aside class="notes">') == 1
    assert text.count("<section>") == text.count("</section>") == 3 + 4, "three topics, four slides"
    assert html.count("<math") == 1


def test_making_a_deck_does_not_import_sphinx() -> None:
    script = (
        "import sys; from cnnlab.publish.decks import render; "
        "print(len(render('deck.html.j2', slides=[])) > 200_000, 'sphinx' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "True False\n", done.stderr
