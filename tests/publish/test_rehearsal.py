"""`cnnlab doctor --class`: what it does the evening before, and what it says about tomorrow."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

HONEST = "import os; assert os.environ['CNNLAB_OFFLINE'] == '1', 'the network is allowed'"
NEEDY = "raise OSError('no network for the photographs')"


def write(folder: Path, name: str, source: str) -> Path:
    title = new_markdown_cell(f"# {name}\n\n**Why?**\n\n*1 minute*")
    title.metadata["slideshow"] = {"slide_type": "slide"}
    cells = [title, new_markdown_cell("## After\n\n- **know**"), new_code_cell(source)]
    path = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    return path


def rehearse(folder: Path, *names: str) -> subprocess.CompletedProcess[str]:
    settings = {"CNNLAB_OFFLINE": "1", "CNNLAB_DATA": "cache", "PYTHONIOENCODING": "utf-8"}
    environment = {n: value for n, value in os.environ.items() if n != "CNNLAB_MIRROR"}
    return subprocess.run(
        [sys.executable, "-m", "cnnlab", "doctor", "--class", *names],
        env={**environment, **settings}, cwd=folder,
        capture_output=True, text=True, encoding="utf-8", timeout=300,
    )  # fmt: skip


def test_a_rehearsal_runs_everything_and_tells_tomorrow(tmp_path: Path) -> None:
    write(tmp_path, "01_ants", HONEST)
    done = rehearse(tmp_path, "01_ants.ipynb")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("python", "settings", "lesson 01", "index"):
        assert re.search(rf"^ok +{name} +\S", done.stdout, re.M), name
    assert re.search(r"^note +fetching +cannot get hymenoptera_data.zip", done.stdout, re.M)
    assert re.search(r"^ok +lesson 01 +\d+ s, [\d,]+ MB of memory$", done.stdout, re.M)
    for page in ("index.html", "01_ants.html", "slides/01_ants.html"):
        assert (tmp_path / "build" / "site" / page).is_file(), page


def test_a_lesson_that_fails_offline_stops_the_class(tmp_path: Path) -> None:
    for name, source in {"01_ants": HONEST, "02_bees": NEEDY}.items():
        write(tmp_path, name, source)
    done = rehearse(tmp_path, "01_ants.ipynb", "02_bees.ipynb")
    assert done.returncode == 1
    assert re.search(r"^ok +lesson 01", done.stdout, re.M)
    failed = (
        r"^STOP +lesson 02 +02_bees failed: OSError: no network for the photographs\n +-> cnnlab"
    )
    assert re.search(failed, done.stdout, re.M)
    assert "1 to mend before class" in done.stdout
