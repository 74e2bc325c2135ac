"""The address of a published copy: in every lesson and the README, or nowhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from repository import NOTEBOOKS, ROOT

from cnnlab.publish.command_line import main
from cnnlab.publish.series import SETUP, stamp


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copy(ROOT / "README.md", tmp_path)
    return tmp_path


def address_of(notebook: Path) -> str:
    """What the set-up cell of a lesson installs on Colab."""
    sources = [cell.source for cell in nbformat.read(notebook, as_version=4).cells]
    (found,) = filter(None, map(SETUP.search, sources))
    return found.group().split('"')[1]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


def test_every_lesson_names_the_same_address() -> None:
    addresses = {address_of(path) for path in NOTEBOOKS}
    assert len(addresses) == 1
    colab = "colab.research.google.com" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert colab == bool(addresses.pop())


def test_a_stamp_reaches_every_lesson_and_the_readme(clone: Path) -> None:
    changed = stamp(clone, "ada/cnn-course")
    assert len(changed) == 1 + len(NOTEBOOKS)
    for path in clone.glob("notebooks/*/*.ipynb"):
        assert address_of(path) == "git+https://github.com/ada/cnn-course"
        title = nbformat.read(path, as_version=4).cells[0].source
        place = f"github/ada/cnn-course/blob/main/notebooks/{path.parent.name}/{path.name})"
        assert title.count("Open in Colab") == 1 and place in title
    readme = (clone / "README.md").read_text(encoding="utf-8")
    assert readme.count("[Colab](https://colab.research.google.com/github/ada/") == len(NOTEBOOKS)


def test_clearing_restores_every_byte(clone: Path) -> None:
    before = contents(clone)
    stamp(clone, "ada/cnn-course")
    stamp(clone, "grace/other.copy")
    assert all("ada/" not in path.read_text(encoding="utf-8") for path in clone.rglob("*.ipynb"))
    stamp(clone, None)
    assert contents(clone) == before
    assert stamp(clone, None) == []


@pytest.mark.parametrize("name", ["ada", "https://github.com/ada/x", "a b/c", 'a/b"', "a/b/c", ""])
def test_what_is_no_repository_is_refused(name: str, clone: Path) -> None:
    before = contents(clone)
    with pytest.raises(ValueError, match="OWNER/REPO"):
        stamp(clone, name)
    assert contents(clone) == before


def test_the_command_wants_one_or_the_other(clone: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(clone)
    assert main(["stamp"]) == 2 and main(["stamp", "ada/x", "--clear"]) == 2
    assert main(["stamp", "ada/x"]) == 0
    assert f"{1 + len(NOTEBOOKS)} files changed" in capsys.readouterr().out
    assert main(["stamp", "not a name"]) == 2
    assert "OWNER/REPO" in capsys.readouterr().err
