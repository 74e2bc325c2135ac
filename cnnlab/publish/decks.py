"""Turn an executed notebook into slides: one HTML file that asks no server for anything.

The slide types of the cells say what begins a slide; ``web/deck.js`` moves to another slide what
does not fit. Speaker notes are the ``notes`` in the metadata of a cell. reveal.js, which shows the
slides, comes from the installed package sphinx-revealjs.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field
from html import escape
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup
from jinja2 import Environment, FileSystemLoader
from nbconvert.filters import Highlight2HTML, strip_ansi
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]

from cnnlab.publish.pages import WEB, markdown_to_html, settled
from cnnlab.runtime import write_atomically

__all__ = ["Block", "Slide", "slides_of", "write_deck"]

BEGINNINGS = ("slide", "subslide")
HIDDEN = ("skip", "notes")
TEXT_WIDTH = 88  # characters of printed text in a line


@dataclass
class Block:
    """A piece of a slide that stays in one piece: prose, code, source, text or an image."""

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
        blocks = _solution(cell) if is_solution else _blocks(cell)
        if kind == "fragment" and blocks:
            blocks[0].fragment = True
        slides[-1].blocks += blocks
        slides[-1].notes += markdown_to_html(cell.metadata.get("notes", ""))
    return slides


def _blocks(cell: Any) -> list[Block]:
    if cell.cell_type == "markdown":  # cut at its headings, to go on on another slide
        parts = re.split(r"(?m)^(?=#{2,3} )", cell.source)
        return [Block("prose", markdown_to_html(part)) for part in parts if part.strip()]
    blocks = [] if cell.metadata.get("jupyter", {}).get("source_hidden") else [_code(cell.source)]
    return blocks + [block for output in cell.outputs for block in _output(output)]


def _solution(cell: Any) -> list[Block]:
    """Show a solution below its title, unfolded, when the speaker asks for it."""
    title = cell.source.split("\n")[0].removeprefix("# @title ")
    folded = "".join(output.get("data", {}).get("text/html", "") for output in cell.outputs)
    source = BeautifulSoup(folded, "html.parser").find("pre")
    code = _code(source.get_text().strip("\n") if source else "")
    code.fragment = True
    return [Block("prose", f"<h3>{escape(title)}</h3>"), code]


def _code(source: str, kind: str = "code") -> Block:
    return Block(kind, Highlight2HTML(pygments_lexer="ipython3")(source))


def _output(output: Any) -> list[Block]:
    """Show an output in its richest form that needs no script."""
    data = output.get("data", {})
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            alt = escape(output.metadata.get(kind, {}).get("alt", ""))
            return [Block("image", f'<img alt="{alt}" src="data:{kind};base64,{data[kind]}">')]
    if 'class="highlight"' in data.get("text/html", ""):  # by IPython.display.Code
        return [_code(data["text/plain"], "source")]
    if "text/html" in data:
        return [Block("prose", data["text/html"])]
    error = "\n".join(output.get("traceback", []))
    return _printed(error or output.get("text") or data.get("text/plain", ""))


def _printed(text: str) -> list[Block]:
    """Cut printed text at its empty lines, so that it can go on on another slide."""
    blocks = []
    for paragraph in re.split(r"\n\s*\n", strip_ansi(text).strip("\n")):
        lines = [part for line in paragraph.split("\n") for part in _wrapped(line)]
        blocks.append(Block("text", "<pre>" + escape("\n".join(lines)) + "</pre>"))
    return blocks


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
    css = HtmlFormatter(style="default").get_style_defs(".highlight")
    slides = slides_of(settled(notebook))
    deck = render("deck.html.j2", title=source.stem, slides=slides, highlight_css=css)
    return write_atomically(folder / f"{source.stem}.html", deck)


def render(template: str, **values: Any) -> str:
    """Fill in a template of ours; ``inline(name)`` in it is a script or style, as it stands."""
    package = distribution("sphinx-revealjs")  # not imported: that would import Sphinx
    reveal = Path(str(package.locate_file("sphinx_revealjs/_static/revealjs")))
    loader = FileSystemLoader([WEB, reveal / "dist", reveal / "plugin" / "notes"])
    environment = Environment(loader=loader, trim_blocks=True)

    def inline(name: str) -> str:
        text, *_ = loader.get_source(environment, name)
        return re.sub(r"//# sourceMappingURL=.*", "", text)

    return environment.get_template(template).render(inline=inline, **values)
