"""Turn an executed notebook into slides: one HTML file that asks no server for anything.

The slide types of the cells say what begins a slide; ``data/web/deck.js`` moves to another slide
what does not fit. Speaker notes are the ``notes`` in the metadata of a cell.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import Environment
from nbconvert.filters import markdown2html, strip_ansi
from nbconvert.filters.highlight import Highlight2HTML
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]

from cnnlab.pages import static_widgets, write_whole
from cnnlab.places import packaged

__all__ = ["Block", "Slide", "slides_of", "write_deck", "write_index"]

BEGINNINGS = ("slide", "subslide")
HIDDEN = ("skip", "notes")
LONGEST_TEXT = 26  # printed lines on a slide
LONGEST_CODE, CODE_WIDTH = 19, 78  # lines of code on a slide, characters in a line
FORMULA = re.compile(r"\$[^$\n]+\$|\$\$")


@dataclass
class Block:
    """A piece of a slide that stays in one piece: prose, code, printed text or a picture."""

    kind: str
    html: str
    fragment: bool = False


@dataclass
class Slide:
    """Blocks from one beginning to the next, and what the speaker should know."""

    blocks: list[Block] = field(default_factory=list)
    notes: str = ""
    is_new_topic: bool = True  # a slide to the right, not below


def slides_of(notebook: Any) -> list[Slide]:
    """Cut an executed notebook into slides, by the slide types of its cells."""
    slides: list[Slide] = []
    for cell in notebook.cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
        if kind in HIDDEN:
            continue
        if kind in BEGINNINGS or not slides:
            slides.append(Slide(is_new_topic=kind == "slide"))
        blocks = _prose(cell) if cell.cell_type == "markdown" else _code_and_outputs(cell)
        for block in blocks[:1]:
            block.fragment = kind == "fragment"
        slides[-1].blocks += blocks
        if words := cell.metadata.get("notes"):
            slides[-1].notes += markdown2html(words)
    return slides


def _prose(cell: Any) -> list[Block]:
    """Split Markdown at its headings, so that a long cell can go on to another slide."""
    parts = re.split(r"(?m)^(?=#{2,3} )", cell.source)
    return [Block("prose", markdown2html(part)) for part in parts if part.strip()]


def _code_and_outputs(cell: Any) -> list[Block]:
    blocks = []
    if not cell.metadata.get("jupyter", {}).get("source_hidden"):
        highlight = Highlight2HTML(pygments_lexer="python")
        blocks += [Block("code", highlight(part)) for part in _parts_of_code(cell.source)]
    return blocks + [block for output in cell.outputs for block in _output(output)]


def _parts_of_code(source: str) -> list[str]:
    """Cut code that is too tall for a slide before a line that begins a statement."""
    lines = source.split("\n")
    height = sum(1 + len(line) // CODE_WIDTH for line in lines)  # long lines are wrapped
    starts = [i for i, line in enumerate(lines) if i and re.match(r"[\w@%]", line)]
    if height <= LONGEST_CODE or not starts:
        return [source]
    middle = min(starts, key=lambda i: abs(i - len(lines) / 2))
    return ["\n".join(lines[:middle]), "\n".join(lines[middle:])]


def _output(output: Any) -> list[Block]:
    """Show an output in its richest form that needs no script."""
    if output.output_type == "error":
        return _printed("\n".join(output.traceback))
    if output.output_type == "stream":
        return _printed(output.text)
    data = output.get("data", {})
    if "image/png" in data:
        alt = html.escape(output.metadata.get("image/png", {}).get("alt", ""))
        picture = f'<img alt="{alt}" src="data:image/png;base64,{data["image/png"]}">'
        return [Block("picture", picture)]
    if "text/html" in data:
        return [Block("prose", data["text/html"])]
    return _printed(data.get("text/plain", ""))


def _printed(text: str) -> list[Block]:
    """Cut printed text into pieces that fit on a slide each."""
    lines = strip_ansi(text).strip("\n").split("\n")
    pieces = [lines[i : i + LONGEST_TEXT] for i in range(0, len(lines), LONGEST_TEXT)]
    return [Block("text", f"<pre>{html.escape(chr(10).join(piece))}</pre>") for piece in pieces]


def write_deck(notebook: Any, source: Path, folder: Path) -> Path:
    """Write the slides of a notebook, read from `source` and executed, into `folder`.

    Returns
    -------
    Path
        The deck: the name of the notebook, ending in ``.html``.

    Raises
    ------
    OSError
        When the deck cannot be written.
    """
    stacks: list[list[Slide]] = []
    for slide in slides_of(static_widgets(notebook)):
        if slide.is_new_topic or not stacks:
            stacks.append([])
        stacks[-1].append(slide)
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    template = Environment(autoescape=False).from_string(_web("deck.html.j2"))
    page = template.render(
        title=source.stem,
        stacks=stacks,
        formulas=any(FORMULA.search(text) for text in prose),
        highlight_css=HtmlFormatter(style="default").get_style_defs(".highlight"),
        web=_web,
    )
    return write_whole(page, folder / f"{source.stem}.html")


def write_index(decks: dict[Path, Path], folder: Path) -> Path:
    """Write ``index.html``: each lesson's title, question, minutes and outcomes, with its deck.

    Parameters
    ----------
    decks : dict
        Notebook -> its deck, in the order of the series.
    folder : Path
        Where the decks are.
    """
    lessons = []
    for source, deck in decks.items():
        first, second, *_ = nbformat.read(source, as_version=4).cells
        title, about = first.source.removeprefix("# ").split("\n", 1)
        outcomes = "".join(re.findall(r"(?m)^- .*\n?", second.source))
        lessons.append((deck.name, title, markdown2html(about), markdown2html(outcomes)))
    template = Environment(autoescape=False).from_string(_web("index.html.j2"))
    return write_whole(template.render(lessons=lessons), folder / "index.html")


def _web(name: str) -> str:
    return packaged("web", name).read_text(encoding="utf-8")
