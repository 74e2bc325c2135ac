"""Turn an executed notebook into slides: one HTML file that asks no server for anything.

The slide types of the cells say what begins a slide; ``data/web/deck.js`` moves to another slide
what does not fit. Speaker notes are the ``notes`` in the metadata of a cell.
"""

from __future__ import annotations

import html
import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import Environment
from nbconvert.filters import markdown2html, strip_ansi
from pygments import highlight  # type: ignore[import-untyped]
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from pygments.lexers import PythonLexer  # type: ignore[import-untyped]

from cnnlab.data.downloads import packaged
from cnnlab.publish.pages import static_widgets, write_whole

__all__ = [
    "Block", "Slide", "introduction", "minutes_by_section", "render", "slides_of", "write_deck",
    "write_index",
]  # fmt: skip

BEGINNINGS = ("slide", "subslide")
HIDDEN = ("skip", "notes")
LONGEST_TEXT, TEXT_WIDTH = 22, 88  # printed lines on a slide, characters in a line
LONGEST_CODE, CODE_WIDTH = 19, 78  # lines of code on a slide, characters in a line
FORMULA = re.compile(r"\$[^$\n]+\$|\$\$")
MINUTES = re.compile(r"\*\*(\d+) min\.\*\*")


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
        is_solution = "solution" in cell.metadata.get("tags", []) and cell.outputs
        if kind in HIDDEN and not is_solution:
            continue
        if kind in BEGINNINGS or is_solution or not slides:
            slides.append(Slide(is_new_topic=kind == "slide"))
        if is_solution:
            slides[-1].blocks += _solution(cell)
            continue
        blocks = _prose(cell) if cell.cell_type == "markdown" else _code_and_outputs(cell)
        for block in blocks[:1]:
            block.fragment = kind == "fragment"
        slides[-1].blocks += blocks
        if words := cell.metadata.get("notes"):
            slides[-1].notes += markdown2html(words)
    return slides


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
        if said := MINUTES.match(cell.metadata.get("notes", "")):
            minutes[section] = minutes.get(section, 0) + int(said[1])
    return minutes


def _prose(cell: Any) -> list[Block]:
    """Split Markdown at its headings, so that a long cell can go on to another slide."""
    parts = re.split(r"(?m)^(?=#{2,3} )", cell.source)
    links = re.compile(r'<a class="anchor-link".*?</a>')  # a deck numbers its slides instead
    return [Block("prose", links.sub("", markdown2html(part))) for part in parts if part.strip()]


def _code_and_outputs(cell: Any) -> list[Block]:
    blocks = []
    if not cell.metadata.get("jupyter", {}).get("source_hidden"):
        blocks += _code(cell.source)
    return blocks + [block for output in cell.outputs for block in _output(output)]


def _solution(cell: Any) -> list[Block]:
    """Show a solution below its title, unfolded, when the speaker asks for it."""
    title = cell.source.split("\n")[0].removeprefix("# @title ")
    shown = "".join(output.get("data", {}).get("text/html", "") for output in cell.outputs)
    source = re.sub(r"(?s)<(style|summary).*?</\1>|<[^>]+>", "", shown).strip("\n")
    blocks = _code(html.unescape(source))
    for block in blocks:
        block.fragment = True
    return [Block("prose", f"<h3>{html.escape(title)}</h3>"), *blocks]


def _code(source: str) -> list[Block]:
    parts = _parts_of_code(source)
    lexer, formatter = PythonLexer(stripnl=False), HtmlFormatter()
    return [Block("code", highlight(part, lexer, formatter)) for part in parts]


def _parts_of_code(source: str) -> list[str]:
    """Cut code that is too tall for a slide before a line that begins a statement."""
    lines = source.split("\n")
    height = sum(1 + len(line) // CODE_WIDTH for line in lines)  # long lines are wrapped
    for indent in ("", "    "):  # within a function or class only if there is no other place
        starts = [i for i, line in enumerate(lines) if i and re.match(indent + r"[\w@%]", line)]
        if starts:
            break
    if height <= LONGEST_CODE or not starts:
        return [source]
    middle = min(starts, key=lambda i: abs(i - len(lines) / 2))
    return ["\n".join(lines[:middle]).rstrip(), "\n".join(lines[middle:])]


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
    if 'class="highlight"' in data.get("text/html", ""):  # by IPython.display.Code
        return [Block("source", block.html) for block in _code(data["text/plain"])]
    if "text/html" in data:
        return [Block("prose", data["text/html"])]
    return _printed(data.get("text/plain", ""))


def _printed(text: str) -> list[Block]:
    """Cut printed text at its empty lines, and where it is too tall for a slide."""
    pieces = []
    for paragraph in re.split(r"\n\s*\n", strip_ansi(text).strip("\n")):
        lines = [part for line in paragraph.split("\n") for part in _wrapped(line)]
        pieces += [lines[i : i + LONGEST_TEXT] for i in range(0, len(lines), LONGEST_TEXT)]
    return [Block("text", f"<pre>{html.escape(chr(10).join(piece))}</pre>") for piece in pieces]


def _wrapped(line: str) -> list[str]:
    """Wrap a long sentence; the row of a table (it has gaps) stays whole, and is made smaller."""
    if len(line) <= TEXT_WIDTH or re.search(r"\S {2,}\S", line):
        return [line]
    return textwrap.wrap(line, TEXT_WIDTH, subsequent_indent="    ", break_on_hyphens=False)


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
    page = render(
        "deck.html.j2",
        title=source.stem,
        stacks=stacks,
        formulas=any(FORMULA.search(text) for text in prose),
        highlight_css=HtmlFormatter(style="default").get_style_defs(".highlight"),
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
    lessons = [(deck.name, *introduction(source)) for source, deck in decks.items()]
    return write_whole(render("index.html.j2", lessons=lessons), folder / "index.html")


def introduction(source: Path) -> tuple[str, str, str]:
    """Return a lesson's title, and as HTML its question with the minutes, and its outcomes.

    A notebook that does not begin with them is called by the name of its file.
    """
    cells = nbformat.read(source, as_version=4).cells
    prose = [cell.source if cell.cell_type == "markdown" else "" for cell in cells]
    first, second, *_ = [*prose, "", ""]
    title, _, about = first.partition("\n")
    if not title.startswith("# "):
        title, about = source.stem, ""
    outcomes = "".join(re.findall(r"(?m)^- .*\n?", second))
    return title.removeprefix("# "), markdown2html(about), markdown2html(outcomes)


def render(template: str, **values: Any) -> str:
    """Fill in a template of ``data/web``."""

    def web(name: str) -> str:
        return packaged("web", name).read_text(encoding="utf-8")

    return Environment(autoescape=False).from_string(web(template)).render(web=web, **values)
