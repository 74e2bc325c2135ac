"""Turn an executed notebook into one HTML file that needs no other file and no server."""

from __future__ import annotations

import os
import re
import tempfile
from copy import deepcopy
from html import unescape
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, pass_context
from nbconvert import HTMLExporter

from cnnlab.data.downloads import packaged

__all__ = ["settled", "static_widgets", "write_page", "write_whole"]

# nbconvert's page, less the scripts that it would load from other servers for widgets and
# diagrams; lines short enough to read; folded cells (jupyter.source_hidden) folded here too.
TEMPLATE = """{% extends 'lab/index.html.j2' %}
{% block html_head_js_requirejs %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block html_head_js_mathjax %}{% if resources.mathjax %}
<script>window.MathJax = { tex: { inlineMath: [["$", "$"]] }, svg: { fontCache: "none" } };</script>
<script>{{ resources.mathjax }}</script>
{% endif %}{% endblock %}
{% block html_head_css %}<style>
body.jp-Notebook { max-width: 64rem; margin: 0 auto; /* and colors of at least 4.5:1 */
  --jp-cell-prompt-not-active-opacity: 1; --jp-cell-prompt-not-active-font-color: #3c464f;
  --jp-cell-inprompt-font-color: #3c464f; --jp-cell-outprompt-font-color: #3c464f;
  --jp-mirror-editor-comment-color: #2f6b6b; --jp-mirror-editor-number-color: #007000;
  --jp-mirror-editor-operator-color: #8a00d4; --jp-mirror-editor-keyword-color: #007000; }
.jp-OutputArea-output .highlight pre { font: 13px/1.4 monospace; }
.jp-RenderedText pre { word-break: normal; overflow-wrap: anywhere; }
.jp-OutputArea-output summary,
.jp-InputArea summary { font: 14px sans-serif; padding: 5px 0; cursor: pointer; }
</style>{% endblock %}
{% block input %}
{% if cell.metadata.get("jupyter", {}).get("source_hidden") %}
<details><summary>{{ cell.source.split("\n")[0].split("@title")[-1] | e }}</summary>
{{ super() }}</details>
{% else %}{{ super() }}{% endif %}
{% endblock %}"""
WIDGET = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
WIDGET_NOTE = "(interactive: open the notebook to use it)"


class PageExporter(HTMLExporter):
    """nbconvert's exporter, which keeps ``<details>`` in a list whole."""

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        """Embed pictures only where there are any: it closes every tag within a line at once."""
        self.embed_images = re.search(r"!\[|<img", source) is not None
        return super().markdown2html(context, source)


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
    template = DictLoader({"cnnlab.html.j2": TEMPLATE})
    exporter = PageExporter(template_file="cnnlab.html.j2", extra_loaders=[template])
    resources: dict[str, Any] = {"metadata": {"name": source.stem, "path": str(source.parent)}}
    if any("$" in cell.source for cell in notebook.cells if cell.cell_type == "markdown"):
        resources["mathjax"] = packaged("web", "mathjax.js").read_text(encoding="utf-8")
    page, _ = exporter.from_notebook_node(static_widgets(notebook), resources)
    return write_whole(page, folder / f"{source.stem}.html")


def write_whole(text: str, target: Path) -> Path:
    """Write a text file that appears all at once or not at all, and return its path."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}-", suffix=".html")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(draft, 0o644)  # drafts are private, pages are to be read
        os.replace(draft, target)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    return target


def static_widgets(notebook: Any) -> Any:
    """Return a copy of `notebook` in which each widget has become the text that it shows.

    A page has no kernel to move a slider for, and drawing a mere progress bar would take
    scripts from other servers.
    """
    notebook = deepcopy(notebook)
    widgets = notebook.metadata.pop("widgets", {})
    models = widgets.get(WIDGET_STATE, {}).get("state", {})
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = settled(cell.outputs)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if WIDGET in data:
                text = _text(data.pop(WIDGET).get("model_id", ""), models)
                data["text/plain"] = text or WIDGET_NOTE
    return notebook


def settled(outputs: list[Any]) -> list[Any]:
    """Join what was printed in pieces, and keep of a progress bar only its last state.

    Examples
    --------
    >>> stream = {"output_type": "stream", "name": "stdout"}
    >>> pieces = [stream | {"text": "\\r1/2"}, stream | {"text": "\\r2/2\\n"}]
    >>> [output["text"] for output in settled(pieces)]
    ['2/2\\n']
    """
    joined: list[Any] = []
    for output in outputs:
        last = joined[-1] if joined else {}
        if output["output_type"] == "stream" and last.get("name") == output["name"]:
            last["text"] += output["text"]
        else:
            joined.append(output)
    for output in joined:
        if output["output_type"] == "stream":
            output["text"] = re.sub(r"[^\n]*\r(?!\n)", "", output["text"])
    return joined


def _text(model_id: str, models: dict[str, Any]) -> str:
    """Join the words of a row, such as a progress bar: ``100% 5/5 [00:03<00:00]``.

    Of a form or a column of sliders the words alone would make no sense.
    """
    model = models.get(model_id, {})
    state = model.get("state", {})
    if model.get("model_name") in ("HTMLModel", "LabelModel"):
        return unescape(re.sub(r"<[^>]*>", "", state.get("value", ""))).strip()
    row = state.get("children", []) if model.get("model_name") == "HBoxModel" else []
    inner = [child.removeprefix("IPY_MODEL_") for child in row]
    return " ".join(filter(None, (_text(child, models) for child in inner)))
