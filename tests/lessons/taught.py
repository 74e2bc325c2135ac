"""Functions that stand in a lesson's cells, so that tests can hold them like any other code."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from typing import Any

from repository import NOTEBOOKS


def taught(lesson: str, name: str, **names: Any) -> Callable[..., Any]:
    """Return a function from the cells of a lesson; ``names`` are what its code refers to.

    Parameters
    ----------
    lesson : str
        Two digits.
    name : str
        Of the function.
    **names
        Global names of the notebook: imports, settings, and what earlier cells computed.
    """
    (path,) = [path for path in NOTEBOOKS if path.stem.startswith(lesson)]
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    (source,) = [source for source in sources if f"def {name}(" in source]
    statements = [x for x in ast.parse(source).body if getattr(x, "name", None) == name]
    exec(compile(ast.Module(statements, []), f"{path.name}: {name}", "exec"), names)
    return names[name]
