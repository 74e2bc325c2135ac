"""What the lessons print when they are run on real data."""

from __future__ import annotations

import re

import nbformat
import pytest
from nbclient import NotebookClient
from repository import ROOT

ROW = re.compile(
    r"^(from scratch|frozen backbone|fine-tuned) +([\d.]+)% +([\d.]+)% to ([\d.]+)% +"
    r"([\d.]+) s +([\d,]+)$",
    re.M,
)


def run(name: str) -> str:
    """Execute a lesson as a student would, and return everything that it prints."""
    (path,) = ROOT.glob(f"notebooks/*/{name}*.ipynb")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": path.parent}}).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert not [out for out in outputs if out.output_type == "error"]
    return "".join(out.text for out in outputs if out.output_type == "stream")


@pytest.mark.photos
def test_lesson_09_on_the_photographs(photos, monkeypatch):
    monkeypatch.delenv("CNNLAB_STRICT", raising=False)  # a student who attempts no exercise
    text = run("09")
    assert "153 test pictures (photos)" in text
    rows = {name: numbers for name, *numbers in ROW.findall(text)}
    assert list(rows) == ["from scratch", "frozen backbone", "fine-tuned"]
    accuracy = {name: float(numbers[0]) for name, numbers in rows.items()}
    for accuracy_text, low, high, _, _ in rows.values():
        assert float(low) < float(accuracy_text) < float(high)
    assert float(rows["frozen backbone"][3]) < 60  # seconds on two cores
    trainable = {name: int(numbers[4].replace(",", "")) for name, numbers in rows.items()}
    assert trainable["frozen backbone"] < 5_000 < 1e6 < trainable["from scratch"]
    assert accuracy["from scratch"] < accuracy["frozen backbone"]
    assert accuracy["from scratch"] < accuracy["fine-tuned"]
    assert "imageNotFound.gif" in text
    assert text.count("not attempted yet") == 3
