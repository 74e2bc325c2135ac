"""Finds notebooks by path and by short name."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnlab.publish import series
from cnnlab.publish.series import find_notebooks, notebooks_folder


@pytest.fixture(autouse=True)
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ["morning/01_datasets", "morning/02_nets", "afternoon/09_ants_and_bees"]:
        path = tmp_path / "notebooks" / f"{name}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    (tmp_path / "notebooks" / "morning" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "notebooks/morning/.ipynb_checkpoints/01_datasets-checkpoint.ipynb").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*wanted: str) -> list[str]:
    return [path.stem for path in find_notebooks(wanted)]


def test_the_morning_comes_before_the_afternoon() -> None:
    assert names() == ["01_datasets", "02_nets", "09_ants_and_bees"]


@pytest.mark.parametrize(
    "name",
    ["09", "9", "09_ants_and_bees", "09_ants_and_bees.ipynb", "afternoon",
     "notebooks/afternoon/09_ants_and_bees.ipynb", "notebooks/afternoon"],
)  # fmt: skip
def test_a_notebook_has_many_names(name: str) -> None:
    assert names(name) == ["09_ants_and_bees"]


def test_several_keep_their_order_and_come_once() -> None:
    assert names("09", "morning", "1") == ["09_ants_and_bees", "01_datasets", "02_nets"]


def test_an_unknown_name_is_told_which_there_are() -> None:
    with pytest.raises(ValueError, match=r"'ants_and_bee'; .*01_datasets, 02_nets, 09_ants_and_b"):
        find_notebooks(["ants_and_bee"])


def test_another_file_is_no_notebook(clone: Path) -> None:
    (clone / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=r"no notebook 'notes\.txt'"):
        find_notebooks(["notes.txt"])


def test_a_folder_without_notebooks_is_told(clone: Path) -> None:
    (clone / "empty").mkdir()
    with pytest.raises(ValueError, match="no notebook 'empty'"):
        find_notebooks(["empty"])


def test_without_a_clone_it_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(
        series, "__file__", str(tmp_path / "site-packages" / "cnnlab" / "publish" / "series.py")
    )
    with pytest.raises(FileNotFoundError, match="no lessons in") as caught:
        notebooks_folder()
    assert str(tmp_path / "elsewhere" / "notebooks") in str(caught.value)
    assert "your clone" in str(caught.value)
