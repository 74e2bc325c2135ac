"""The package's own code, to be read in a lesson."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cnnlab.data.downloads import data_folder
from cnnlab.runtime import in_notebook

__all__ = ["show_source", "upload_button", "uploaded_file"]


def show_source(thing: Callable[..., Any] | type) -> None:
    """Show the code of a function or class without its docstring, colored in a notebook.

    Examples
    --------
    >>> from cnnlab.evaluation import model_device
    >>> show_source(model_device)
    def model_device(model: nn.Module) -> torch.device:
        return next((p.device for p in model.parameters()), torch.device("cpu"))
    """
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(thing)))
    lines = source.splitlines()
    body = ast.parse(source).body[0].body  # type: ignore[attr-defined]
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        end = first.end_lineno or first.lineno
        del lines[first.lineno - 1 : end + (lines[end : end + 1] == [""])]
    text = "\n".join(lines)
    if in_notebook():
        from IPython.display import Code, display

        display(Code(text, language="python"))
    else:
        print(text)


def upload_button(function: Callable[[Path], Any], accept: str = ".zip") -> None:
    """Show an upload button (Jupyter and Colab); what ``function`` prints appears below it.

    Parameters
    ----------
    function : callable
        Is called with the path of the uploaded file. An error in it is shown like any other,
        which a bare widget callback would keep to itself.
    accept : str
        What to offer for choice: a suffix, or a kind of file such as ``"image/*"``.
    """
    import ipywidgets
    from IPython.display import display

    what = "a zip" if accept == ".zip" else "a picture"
    button = ipywidgets.FileUpload(accept=accept, description=f"Upload {what}")
    below = ipywidgets.Output()

    def uploaded(change: dict[str, Any]) -> None:
        below.clear_output()
        with below:  # shows output and errors of the callback
            if change["new"]:
                function(uploaded_file(change["new"], data_folder() / "uploads"))

    button.observe(uploaded, names="value")
    display(ipywidgets.VBox([button, below]))


def uploaded_file(value: Any, folder: Path) -> Path:
    """Save the first file of an upload and return its path.

    ipywidgets 8 hands over a tuple of dictionaries, version 7 (on Colab) a dictionary by name.
    Of the name only the last part is used, so that it cannot lead out of the folder.

    Examples
    --------
    >>> import tempfile
    >>> value = ({"name": "../mine.zip", "content": memoryview(b"PK")},)
    >>> uploaded_file(value, Path(tempfile.mkdtemp())).name
    'mine.zip'
    """
    if isinstance(value, dict):
        name, entry = next(iter(value.items()))
    else:
        name, entry = value[0]["name"], value[0]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / Path(name.replace("\\", "/")).name
    path.write_bytes(bytes(entry["content"]))
    return path
