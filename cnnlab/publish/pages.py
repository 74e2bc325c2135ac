"""Turn an executed notebook into one HTML file that needs no other file and no server."""

from __future__ import annotations

import re
from copy import deepcopy
from functools import partial
from html import escape, unescape
from pathlib import Path
from typing import Any

from jinja2 import FileSystemLoader
from latex2mathml.converter import convert  # type: ignore[import-untyped]
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

from cnnlab.runtime import write_atomically

__all__ = ["markdown_to_html", "settled", "write_page"]

WEB = Path(__file__).parents[1] / "web"  # our own templates, styles and scripts
WIDGET = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_NOTE = "(interactive: open the notebook to use it)"


class Renderer(IPythonRenderer):
    """nbconvert's Markdown, with formulas as MathML, which browsers draw without a script."""

    def inline_math(self, body: str) -> str:
        """Convert ``$...$``; between spaces, as in "$5 and $6", dollars are dollars."""
        return _formula(body, "inline") if body == body.strip() else escape(f"${body}$")

    def block_math(self, body: str) -> str:
        """Convert ``$$...$$``."""
        return _formula(body, "block")

    def inline_html(self, html: str) -> str:
        """Leave tags alone that are no images: nbconvert would close each within its line."""
        return super().inline_html(html) if "<img" in html else html


def _formula(latex: str, display: str) -> str:
    """Return MathML, or the LaTeX as it stands where it is wrong."""
    try:
        return convert(latex, display=display)
    except Exception:  # latex2mathml has a dozen of its own, without a common class
        return f"<code>{escape(latex)}</code>"


def markdown_to_html(source: str, **options: Any) -> str:
    r"""Convert Markdown with formulas; `options` are those of nbconvert's renderer.

    Examples
    --------
    >>> print(markdown_to_html(r"a cube $x^3$ costs \$3"), end="")
    <p>a cube <math ...<msup><mi>x</mi><mn>3</mn></msup>...</math> costs $3</p>
    """
    options = {"escape": False, "exclude_anchor_links": True, **options}
    return MarkdownWithMath(renderer=Renderer(**options)).render(source)


def write_page(notebook: Any, source: Path, folder: Path) -> Path:
    """Write `notebook`, read from `source` and executed, as a page in `folder`.

    The page appears all at once or not at all; an older one is replaced.

    Returns
    -------
    Path
        The page: the name of the notebook, ending in ``.html``.

    Raises
    ------
    OSError
        When the page cannot be written.
    """
    files = [cell.get("attachments", {}) for cell in notebook.cells]
    to_html = partial(
        markdown_to_html,
        exclude_anchor_links=False,
        embed_images=True,
        path=str(source.parent),
        attachments={name: file for cell in files for name, file in cell.items()},
    )
    exporter = HTMLExporter(template_file="page.html.j2", extra_loaders=[FileSystemLoader(WEB)])
    exporter.register_filter("markdown2html", to_html)
    resources = {"metadata": {"name": source.stem}}
    page, _ = exporter.from_notebook_node(settled(notebook), resources)
    return write_atomically(folder / f"{source.stem}.html", page)


def settled(notebook: Any) -> Any:
    """Return a copy in which progress has come to its end and widgets are the text they show.

    A page has no kernel to move a slider for, and drawing a mere progress bar would take
    scripts from other servers.
    """
    notebook, _ = CoalesceStreamsPreprocessor().preprocess(deepcopy(notebook), {})
    models = notebook.metadata.pop("widgets", {}).get(WIDGET_STATE, {}).get("state", {})
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            widget = output.get("data", {}).pop(WIDGET, None)
            if widget is not None:
                output.data["text/plain"] = _words(widget["model_id"], models) or WIDGET_NOTE
    return notebook


def _words(model_id: str, models: dict[str, Any]) -> str:
    """Return the words of a progress bar: ``100% 5/5 [00:03<00:00]``; of other widgets, nothing."""
    row = models.get(model_id, {})
    if row.get("model_name") != "HBoxModel":
        return ""
    parts = [models[name.removeprefix("IPY_MODEL_")] for name in row["state"]["children"]]
    words = [part["state"]["value"] for part in parts if part["model_name"] == "HTMLModel"]
    return unescape(re.sub(r"<[^>]*>", "", "".join(words)))
