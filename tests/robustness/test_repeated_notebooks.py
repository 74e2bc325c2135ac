"""Lessons executed again: in the same kernel, and after a restart; the printed numbers must agree.

The two quickest in plain pytest; all of them with ``pytest -m benchmark tests/robustness``.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbconvert.filters import strip_ansi
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from repository import NOTEBOOKS

from cnnlab.publish.running import new_kernel

QUICK = ("06_", "07_")
LESSONS = [
    pytest.param(
        path, id=path.stem, marks=[] if path.name.startswith(QUICK) else pytest.mark.benchmark
    )
    for path in NOTEBOOKS
]
# What a clock or the machine decides: "3.5 s", "12 ms", "4.1 images/s", "850 MB", progress bars.
TIMES = re.compile(
    r"\d[\d.,]*\s*(?:µs|ms|s|min|minutes?|seconds?)\b|\d[\d.,]* (?:images|it)/s"
    r"|\d\d:\d\d<[\d:]+"
)
FILES = re.compile(r"/tmp/\S+|0x[0-9a-f]+")


@contextmanager
def kernel(path: Path) -> Iterator[NotebookClient]:
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, new_kernel(), timeout=900)
    with client.setup_kernel(cleanup_kc=True, cwd=str(path.parent)):
        yield client


def printed(client: NotebookClient) -> list[str]:
    """Run all cells, exercises untouched, and return the text that each one showed."""
    texts = []
    for index, cell in enumerate(client.nb.cells):
        if cell.cell_type != "code":
            continue
        cell.outputs = []
        client.execute_cell(cell, index)
        CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, index)  # bars at their last state
        shown = [
            output.get("text", "") for output in cell.outputs if output.get("name") != "stderr"
        ]
        shown += [output.data.get("text/plain", "") for output in cell.outputs if "data" in output]
        texts.append(FILES.sub("*", TIMES.sub("*", strip_ansi("".join(shown)))))
    return texts


def differences(first: list[str], second: list[str]) -> list[tuple[str, str]]:
    return [(a, b) for a, b in zip(first, second, strict=True) if a != b]


@pytest.mark.parametrize("path", LESSONS)
def test_a_lesson_gives_the_same_numbers_again(path, own_cache, monkeypatch):
    """Run all, run all again without a restart, restart, run all."""
    monkeypatch.setenv("CNNLAB_OFFLINE", "1")
    with kernel(path) as client:
        first = printed(client)
        again = printed(client)
    with kernel(path) as client:
        restarted = printed(client)
    assert len(re.findall(r"\d+", "".join(first))) > 50, "too few numbers to compare"
    assert differences(first, restarted) == []
    assert differences(first, again) == []


def test_a_cell_before_its_time_says_which_name_is_missing():
    """Out of order: an ordinary NameError of the lesson's own line, no damage to what follows."""
    path = next(path for path in NOTEBOOKS if path.name.startswith("07_"))
    with kernel(path) as client:
        cells = [(i, c) for i, c in enumerate(client.nb.cells) if c.cell_type == "code"]
        needy = next((i, c) for i, c in cells if "plot_day(" in c.source)
        with pytest.raises(CellExecutionError) as caught:
            client.execute_cell(needy[1], needy[0])
        assert re.search(r"NameError: name '\w+' is not defined", strip_ansi(str(caught.value)))
        for index, cell in cells[:6]:
            client.execute_cell(cell, index)


LESSON = """
from pathlib import Path
import cnnlab, torch
from torch import nn

class Batches(list):
    def __iter__(self):
        Path(self.flag).touch()  # the epoch has begun
        return super().__iter__()

def lesson(epochs, flag):
    cnnlab.set_seed(0)
    batches = Batches([(torch.randn(64, 4), torch.arange(64) % 2)] * 4)
    batches.flag = flag
    return cnnlab.fit(nn.Linear(4, 2), batches, batches, epochs=epochs)

print(lesson(3, "first")["val_loss"])"""
CELLS = [
    LESSON,
    "history = lesson(10**6, 'endless')",
    "print(history.ending)",
    "print(lesson(3, 'third')['val_loss'])",
]


def test_the_stop_button_ends_a_training_and_the_next_run_is_whole(tmp_path):
    """A real kernel, interrupted in the middle of `fit`."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in CELLS])
    nbformat.write(notebook, tmp_path / "lesson.ipynb")

    def press_stop(client: NotebookClient) -> None:
        while not (tmp_path / "endless").exists():
            time.sleep(0.02)
        time.sleep(0.1)
        asyncio.run(client.km.interrupt_kernel())

    with kernel(tmp_path / "lesson.ipynb") as client:
        threading.Thread(target=press_stop, args=[client], daemon=True).start()
        for index, cell in enumerate(client.nb.cells):
            client.execute_cell(cell, index)
    first, endless, ending, again = client.nb.cells
    assert "Interrupted after" in "".join(output.get("text", "") for output in endless.outputs)
    assert ending.outputs[0].text == "interrupted\n"
    assert again.outputs[0].text == first.outputs[0].text
