"""What stands in a lesson's cells, so that tests can hold it like any other code."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable
from typing import Any

from repository import NOTEBOOKS


def taught(lesson: str, name: str, **names: Any) -> Callable[..., Any]:
    """Return a function or class from the cells of a lesson; ``names`` are what it refers to.

    Of several with one name, it is the last.

    Parameters
    ----------
    lesson : str
        Two digits.
    name : str
        Of the function or class.
    **names
        Global names of the notebook: imports, settings, and what earlier cells computed.
    """
    (path,) = [path for path in NOTEBOOKS if path.stem.startswith(lesson)]
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    begins = re.compile(rf"^(def|class) {name}\(", re.M)
    *_, source = [source for source in sources if begins.search(source)]
    statements = [x for x in ast.parse(source).body if getattr(x, "name", None) == name]
    exec(compile(ast.Module(statements, []), f"{path.name}: {name}", "exec"), names)
    return names[name]
