"""The series: where its notebooks are, which of them a name means, the address they name for Colab.

Unstamped, the lessons name no address: one that nobody here owns could be registered by anybody.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import nbformat

__all__ = ["find_notebooks", "notebooks_folder", "stamp"]

SERIES = "*/[0-9][0-9]_*.ipynb"  # e.g. afternoon/09_ants_and_bees.ipynb
SETUP = re.compile(r'^ADDRESS = ".*"', re.M)
LINK = re.compile(r"\n\n\[▶ Open in Colab\]\(.*?\)")
ROW = re.compile(r"\]\((notebooks/\S+?\.ipynb)\)(?: · \[Colab\]\(.*?\))?")
NAME = re.compile(r"[\w.-]+/[\w.-]+")


def notebooks_folder() -> Path:
    """Return the folder of the series: ``notebooks`` here, or in the clone that holds cnnlab.

    Raises
    ------
    FileNotFoundError
        When there is no series in either place (cnnlab was installed without a clone).
    """
    clone = Path(__file__).resolve().parents[2]
    for folder in (Path.cwd() / "notebooks", clone / "notebooks"):
        if any(folder.glob(SERIES)):
            return folder
    advice = "change to your clone of the repository, or give the path of a notebook"
    raise FileNotFoundError(f"no lessons in {Path.cwd() / 'notebooks'}: {advice}")


def find_notebooks(names: Sequence[str] = ()) -> list[Path]:
    """Find notebooks by path or short name; without a name, the series in its order.

    Parameters
    ----------
    names
        Each a file, a folder, or (part of) a name in the series:
        ``09``, ``9``, ``09_ants_and_bees`` or ``afternoon``.

    Raises
    ------
    ValueError
        When a name fits nothing; the message lists what there is.
    FileNotFoundError
        When a short name is given and the series cannot be found.
    """
    found = [path for name in names for path in _matches(name)] if names else _series()
    return list(dict.fromkeys(path.resolve() for path in found))


def _series() -> list[Path]:
    return sorted(notebooks_folder().glob(SERIES), key=lambda path: path.name)


def _matches(name: str) -> list[Path]:
    path = Path(name).expanduser()
    if path.is_dir():
        found = [p for p in path.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts]
    elif path.is_file():
        found = [path] if path.suffix == ".ipynb" else []
    else:
        found = [p for p in _series() if path.stem in (p.stem, p.parent.name)]
        found = found or [p for p in _series() if p.stem[:2] == path.stem.zfill(2)]
    if not found:
        raise ValueError(f"no notebook {name!r}; there are {', '.join(p.stem for p in _series())}")
    return sorted(found, key=lambda path: path.name)


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
    from cnnlab.runtime import write_atomically  # with torch behind it

    if repository is not None and not NAME.fullmatch(repository):
        raise ValueError(f"{repository!r} is not OWNER/REPO, such as ada/cnnlab")
    colab = f"https://colab.research.google.com/github/{repository}/blob/main"
    readme = root / "README.md"
    link = rf" · [Colab]({colab}/\1)" if repository else ""
    texts = {readme: ROW.sub(rf"](\1){link}", readme.read_text(encoding="utf-8"))}
    for path in sorted(root.glob("notebooks/*/*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        title = notebook.cells[0]
        title.source = LINK.sub("", title.source)
        if repository:
            title.source += f"\n\n[▶ Open in Colab]({colab}/{path.relative_to(root).as_posix()})"
        setups = [cell for cell in notebook.cells if SETUP.search(cell.source)]
        if not setups:
            raise ValueError(f'{path} has no set-up cell with a line ADDRESS = "…"; copy one')
        address = f"git+https://github.com/{repository}" if repository else ""
        setups[0].source = SETUP.sub(f'ADDRESS = "{address}"', setups[0].source)
        texts[path] = nbformat.writes(notebook, indent=1).rstrip("\n") + "\n"
    changed = [path for path, text in texts.items() if text != path.read_text(encoding="utf-8")]
    for path in changed:
        write_atomically(path, texts[path])
    return changed
