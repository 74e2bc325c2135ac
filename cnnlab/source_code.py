"""The package's own code, to be read in a lesson."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from cnnlab.progress import in_notebook

__all__ = ["show_source"]


def show_source(thing: Callable[..., Any] | type) -> None:
    """Show the code of a function or class without its docstring, coloured in a notebook.

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
