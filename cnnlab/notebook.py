"""What only notebooks need: figures with an alternative text, source code, an upload button."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cnnlab.data.downloads import data_folder
from cnnlab.runtime import in_notebook

__all__ = ["describe", "show_source", "upload_button", "uploaded_file"]


def describe(drawing: Any, text: str) -> None:
    """Show a figure with an alternative text for people who cannot see it.

    Parameters
    ----------
    drawing : Axes, array of Axes or Figure
        What a plotting function returned.
    text : str
        One sentence that says what there is to see.

    Raises
    ------
    ValueError
        If the text is empty.
    """
    from matplotlib import pyplot as plt
    from matplotlib.figure import Figure

    if not text.strip():
        raise ValueError("the alternative text is empty; say in a sentence what there is to see")
    first = drawing.flat[0] if isinstance(drawing, np.ndarray) else drawing
    figure = first if isinstance(first, Figure) else first.get_figure()
    if in_notebook():
        from IPython.display import display

        display(figure, metadata={"image/png": {"alt": text}})
        plt.close(figure)
    else:
        plt.show()


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
    if thing.__doc__:
        source = re.sub(r'\n *"""[\s\S]*?"""\n', "\n", source, count=1)
    text = source.replace(":\n\n", ":\n", 1).rstrip()
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

    what = "a zip" if accept == ".zip" else "an image"
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

    ipywidgets 8 gives a tuple of dictionaries, version 7 (on Colab) a dictionary by name.
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
