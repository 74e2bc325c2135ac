"""The wheel, installed without the repository: what a student gets who installs with pip."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from repository import NOTEBOOKS, ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = "from hatchling.build import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def test_everything_that_is_not_code_travels_in_it(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "data").rglob("*"):
        if path.is_file():
            assert f"cnnlab/_data/{path.relative_to(ROOT / 'data').as_posix()}" in names
    for path in (ROOT / "cnnlab").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert path.relative_to(ROOT).as_posix() in names


def test_it_is_small_enough_to_hand_out(wheel: Path) -> None:
    assert wheel.stat().st_size < 8e6, "bytes"


def test_a_lesson_runs_with_it_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    site, folder = tmp_path / "site", tmp_path / "student"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    folder.mkdir()
    lesson = next(path for path in NOTEBOOKS if path.name.startswith("00_"))
    shutil.copy(lesson, folder)
    environment = {name: value for name, value in os.environ.items() if name != "CNNLAB_MIRROR"}
    environment |= {"PYTHONPATH": str(site), "CNNLAB_DATA": str(tmp_path / "data")}
    environment |= {"CNNLAB_OFFLINE": "1", "CNNLAB_STRICT": "0"}

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    where = "import cnnlab, json; print(json.dumps(cnnlab.__file__))"
    assert Path(json.loads(python("-c", where))).is_relative_to(site), "another copy was imported"
    python("-m", "cnnlab", "run", lesson.name, "--output", "pages")
    assert "00 · The convolution" in (folder / "pages" / f"{lesson.stem}.html").read_text("utf-8")
