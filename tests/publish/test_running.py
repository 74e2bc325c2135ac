"""Runs real notebooks in real kernels."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from cnnlab.publish.running import Run, kernel_environment, run_notebooks, table

HOG = 250_000_000  # bytes
PLACE = "import os, sys; print(sys.executable, os.getcwd())"
CHILD = f"""
import subprocess, sys
hog = "import time; x = bytearray({HOG}); time.sleep(1.5)"
subprocess.run([sys.executable, "-c", hog], check=True)"""
FAILING = "def divide(x):\n    return x / 0\n\ndivide(1)"


def write(path: Path, *sources: str) -> Path:
    old = [new_output("stream", text="from an earlier run")]
    cells = [new_code_cell(source, outputs=old) for source in sources]
    cells.insert(0, new_markdown_cell(f"# {path.stem}"))
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A run of several notebooks, two at once, on a machine with a foreign "python3" kernel."""
    folder = tmp_path_factory.mktemp("series")
    foreign = folder / "jupyter" / "kernels" / "python3"
    foreign.mkdir(parents=True)
    spec = {"argv": ["/bin/false"], "display_name": "foreign", "language": "python"}
    (foreign / "kernel.json").write_text(json.dumps(spec))
    plot = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    notebooks = [
        write(folder / "a" / "01_good.ipynb", PLACE, plot, "  "),
        write(folder / "a" / "02_bad.ipynb", "print('before')", FAILING, "print('after')"),
        write(folder / "b" / "03_dead.ipynb", "import os; os._exit(1)"),
        write(folder / "b" / "04_hog.ipynb", CHILD),
    ]
    (folder / "b" / "05_garbage.ipynb").write_text("no notebook")
    notebooks.append(folder / "b" / "05_garbage.ipynb")
    before = [path.read_bytes() for path in notebooks]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
        patch.setenv("MPLBACKEND", "agg")
        done = run_notebooks(notebooks, folder / "build", jobs=2)
    assert [path.read_bytes() for path in notebooks] == before, "a notebook was changed"
    return {run.name: run for run in done}


def page(run: Run) -> str:
    assert run.page is not None
    return run.page.read_text(encoding="utf-8")


def test_results_come_in_the_order_asked_for(runs: dict[str, Run]) -> None:
    assert list(runs) == ["01_good", "02_bad", "03_dead", "04_hog", "05_garbage"]
    assert [run.state for run in runs.values()] == ["ok", "FAILED", "FAILED", "ok", "FAILED"]


def test_a_foreign_kernel_does_not_take_over(runs: dict[str, Run]) -> None:
    assert sys.executable in page(runs["01_good"])


def test_a_kernel_starts_in_the_folder_of_its_notebook(runs: dict[str, Run]) -> None:
    assert f"{runs['01_good'].notebook.parent}\n" in page(runs["01_good"])


def test_figures_are_inside_the_page(runs: dict[str, Run]) -> None:
    assert 'src="data:image/png;base64,' in page(runs["01_good"])


def test_blank_cells_are_not_counted(runs: dict[str, Run]) -> None:
    assert (runs["01_good"].cell, runs["01_good"].cells) == (2, 2)


def test_a_failure_shows_cell_and_traceback(runs: dict[str, Run]) -> None:
    run = runs["02_bad"]
    assert (run.cell, run.cells) == (2, 3)
    assert "def divide(x):\n    return x / 0" in run.error
    assert "in divide(x)" in run.error
    assert run.error.strip().endswith("ZeroDivisionError: division by zero")
    assert "\x1b" not in run.error, "colors of a notebook do not belong in a log"


def test_the_page_of_a_failure_has_the_error_in_it(runs: dict[str, Run]) -> None:
    assert "before" in page(runs["02_bad"]) and "ZeroDivisionError" in page(runs["02_bad"])


def test_nothing_of_an_earlier_run_is_shown(runs: dict[str, Run]) -> None:
    assert not any("from an earlier run" in page(run) for run in runs.values() if run.page)


def test_a_dead_kernel_is_a_failure(runs: dict[str, Run]) -> None:
    assert "the kernel died" in runs["03_dead"].error


def test_a_file_that_is_no_notebook_is_a_failure(runs: dict[str, Run]) -> None:
    assert "NotJSONError" in runs["05_garbage"].error
    assert runs["05_garbage"].page is None


def test_peak_memory_includes_child_processes(runs: dict[str, Run]) -> None:
    assert HOG < runs["04_hog"].peak_bytes < HOG + 400e6
    assert runs["01_good"].peak_bytes > 20e6


def test_two_jobs_run_at_once(tmp_path: Path) -> None:
    first, second = (
        write(tmp_path / f"{name}.ipynb", "import time; time.sleep(1.5)") for name in "ab"
    )
    started = time.monotonic()
    done = run_notebooks([first, second], tmp_path / "build", jobs=2)
    assert time.monotonic() - started < sum(run.seconds for run in done) - 1


def test_a_kernel_that_is_being_launched_is_not_mistaken_for_this_process() -> None:
    run = Run(Path("x.ipynb"), state="running")
    run.kernel = SimpleNamespace(provisioner=SimpleNamespace(pid=None))  # type: ignore[assignment]
    run.measure()
    assert (run.processes(), run.peak_bytes) == ([], 0)


def test_kernels_side_by_side_get_a_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert "OMP_NUM_THREADS" not in kernel_environment(jobs=1)
    assert kernel_environment(jobs=2)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert kernel_environment(jobs=2)["OMP_NUM_THREADS"] == "3"


def test_two_notebooks_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the same name"):
        run_notebooks([tmp_path / "a" / "x.ipynb", tmp_path / "b" / "x.ipynb"], tmp_path)


def test_the_table_is_aligned() -> None:
    long = Run(
        Path("04_transposed_convolution.ipynb"), cells=34, cell=34, seconds=1234.56,
        peak_bytes=1_234_567_890, state="ok",
        page=Path("build", "04_transposed_convolution.html"),
    )  # fmt: skip
    short = Run(Path("09_a.ipynb"), cells=5, cell=3, seconds=0.04, state="FAILED")
    assert table([long, short]).splitlines() == [
        "notebook                   cells  seconds  peak MB  result  page",
        "04_transposed_convolution  34/34   1234.6    1,235  ok      "
        "build/04_transposed_convolution.html",
        "09_a                         3/5      0.0        0  FAILED  -",
    ]


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_run_leaves_no_process_behind(name: str, tmp_path: Path) -> None:
    sleeping = "import subprocess; subprocess.run(['sleep', '60'])"
    for stem in "ab":
        write(tmp_path / f"{stem}.ipynb", f"open('{stem}.started', 'w').close()", sleeping)
    command = [sys.executable, "-m", "cnnlab", "run", "--jobs", "2", "a.ipynb", "b.ipynb"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    _wait_until(lambda: len(list(tmp_path.glob("*.started"))) == 2)
    _wait_until(lambda: len(_names(process.pid, "sleep")) == 2)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted; no kernel is left running" in errors and "Traceback" not in errors
    _, alive = psutil.wait_procs(children, timeout=2)
    assert not alive
    assert not list(tmp_path.glob("build/*")), "a page that was not finished"


def _names(pid: int, name: str) -> list[psutil.Process]:
    return [p for p in psutil.Process(pid).children(recursive=True) if p.name() == name]


def _wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)
