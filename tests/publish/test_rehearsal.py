"""`cnnlab doctor --class`: what it does the evening before, and what it says about tomorrow."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
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
    text = done.stdout
    for title in ("Fetching", "Software", "Rehearsal, with the network forbidden", "Tomorrow"):
        assert re.search(rf"^{title}$", text, re.MULTILINE), title
    assert re.search(r"✓ lesson 01 +ants: \d+ s, [\d,]+ MB of memory", text)
    assert re.search(r"✓ no network +lessons, exercises, pages, slides: they ran without", text)
    assert re.search(r"! network +ants_and_bees: it is not here", text)
    assert re.search(r"✓ network +Colab", text)
    assert re.search(r"✓ disk +data [\d,]+ MB, pages and slides [\d,]+ MB; [\d.]+ GB free", text)
    for page in ("index.html", "01_ants.html", "slides/01_ants.html", "slides/index.html"):
        assert (tmp_path / "build" / "site" / page).is_file(), page


def test_a_lesson_that_fails_offline_stops_the_class(tmp_path: Path) -> None:
    for name, source in {"01_ants": HONEST, "02_bees": NEEDY}.items():
        write(tmp_path, name, source)
    done = rehearse(tmp_path, "01_ants.ipynb", "02_bees.ipynb")
    assert done.returncode == 1
    assert "✓ lesson 01" in done.stdout
    failed = r"✗ lesson 02 +bees failed: OSError: no network for the photographs\n +→ cnnlab run 02"
    assert re.search(failed, done.stdout)
    assert "they ran without" not in done.stdout and "1 to mend before class" in done.stdout


@pytest.mark.parametrize("setting", ["ftp://classroom"])
def test_a_wrong_setting_is_one_finding_among_the_others(tmp_path: Path, setting: str) -> None:
    write(tmp_path, "01_ants", HONEST)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNLAB_MIRROR", setting)
        from cnnlab.publish import doctor, rehearsal

        checks = rehearsal.checks_for_class([], tmp_path / "site")
        assert not doctor.examine(checks={"Fetching": checks["Fetching"]})
