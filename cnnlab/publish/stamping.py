"""Write the address of a published copy into the notebooks and the README, for Colab.

Unstamped, the lessons name no address: one that nobody here owns could be registered by anybody.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat

__all__ = ["address_of", "stamp"]

SETUP = re.compile(r'^ADDRESS = ".*"', re.M)
LINK = re.compile(r"\n\n\[▶ Open in Colab\]\(.*?\)")
ROW = re.compile(r"\]\((notebooks/\S+?\.ipynb)\)(?: · \[Colab\]\(.*?\))?")
NAME = re.compile(r"[\w.-]+/[\w.-]+")


def stamp(root: Path, repository: str | None) -> list[Path]:
    """Stamp the notebooks and the README below `root`, or clear them.

    Parameters
    ----------
    root : Path
        The clone: the folder of README.md and notebooks/.
    repository : str or None
        OWNER/REPO on GitHub; None clears.

    Returns
    -------
    list of Path
        The files that were changed.

    Raises
    ------
    ValueError
        If that is no OWNER/REPO, or a notebook has no place for the address.
    """
    if repository is not None and not NAME.fullmatch(repository):
        raise ValueError(f"{repository!r} is not OWNER/REPO, such as ada/cnnlab")
    texts = {root / "README.md": _readme(root, repository)}
    for path in sorted(root.glob("notebooks/*/*.ipynb")):
        texts[path] = _notebook(path, root, repository)
    changed = [path for path, text in texts.items() if text != path.read_text(encoding="utf-8")]
    for path in changed:
        draft = path.with_name(f".{path.name}.part")
        draft.write_text(texts[path], encoding="utf-8")
        os.replace(draft, path)
    return changed


def address_of(notebook: Path) -> str:
    """Return what the set-up cell of a notebook installs; empty where it was not stamped."""
    found = SETUP.search(_setup_cell(nbformat.read(notebook, as_version=4), notebook).source)
    assert found
    return found.group().split('"')[1]


def _setup_cell(notebook: nbformat.NotebookNode, path: Path) -> nbformat.NotebookNode:
    for cell in notebook.cells:
        if cell.cell_type == "code" and SETUP.search(cell.source):
            return cell
    raise ValueError(f'{path} has no set-up cell with a line ADDRESS = "…"; copy it from a lesson')


def _notebook(path: Path, root: Path, repository: str | None) -> str:
    notebook = nbformat.read(path, as_version=4)
    title, setup = notebook.cells[0], _setup_cell(notebook, path)
    title.source = LINK.sub("", title.source)
    source = f"git+https://github.com/{repository}" if repository else ""
    setup.source = SETUP.sub(f'ADDRESS = "{source}"', setup.source)
    if repository:
        title.source += f"\n\n[▶ Open in Colab]({_colab(path.relative_to(root), repository)})"
    return nbformat.writes(notebook, indent=1).rstrip("\n") + "\n"


def _readme(root: Path, repository: str | None) -> str:
    def row(match: re.Match[str]) -> str:
        link = f" · [Colab]({_colab(Path(match[1]), repository)})" if repository else ""
        return f"]({match[1]}){link}"

    return ROW.sub(row, (root / "README.md").read_text(encoding="utf-8"))


def _colab(path: Path, repository: str) -> str:
    return f"https://colab.research.google.com/github/{repository}/blob/main/{path.as_posix()}"
