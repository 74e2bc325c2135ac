"""Where the notebooks are, and which of them a name on the command line means."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

__all__ = ["UnknownName", "find_notebooks", "notebooks_folder"]

SERIES = "*/[0-9][0-9]_*.ipynb"  # e.g. afternoon/09_ants_and_bees.ipynb


class UnknownName(ValueError):
    """A name given on the command line fits nothing; the message says what would."""


def notebooks_folder() -> Path:
    """Return the folder of the series: ``notebooks`` here, or in the clone that holds cnnlab.

    Raises
    ------
    FileNotFoundError
        When there is no series in either place (cnnlab was installed without a clone).
    """
    places = [Path.cwd() / "notebooks", Path(__file__).resolve().parent.parent / "notebooks"]
    for folder in dict.fromkeys(places):
        if any(folder.glob(SERIES)):
            return folder
    looked = "\n".join(f"  {folder}" for folder in dict.fromkeys(places))
    raise FileNotFoundError(
        f"no notebooks found; looked for {SERIES} in\n{looked}\n"
        "Change to your clone of the repository, or give the path of a notebook."
    )


def find_notebooks(names: Sequence[str] = ()) -> list[Path]:
    """Find notebooks by path or short name; without a name, the series in its order.

    Parameters
    ----------
    names
        Each a file, a folder, or (part of) a name in the series:
        ``09``, ``9``, ``09_ants_and_bees`` or ``afternoon``.

    Raises
    ------
    UnknownName
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
    if path.is_file() and path.suffix == ".ipynb":
        return [path]
    if path.is_file():
        raise UnknownName(f"{name} is not a notebook (.ipynb)")
    if path.is_dir():
        found = [p for p in path.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts]
        if not found:
            raise UnknownName(f"no notebook in the folder {name}")
        return sorted(found, key=lambda path: path.name)
    short, series = Path(name).stem, _series()
    found = [p for p in series if short in (p.stem, p.parent.name)]
    found = found or [p for p in series if p.stem.startswith(f"{short.zfill(2)}_")]
    if not found:
        stems = [path.stem for path in series]
        close = get_close_matches(short, stems, n=3, cutoff=0.5) or stems
        raise UnknownName(f"no notebook named {name!r}; try {', '.join(close)}")
    return found
