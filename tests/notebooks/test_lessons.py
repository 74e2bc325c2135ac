"""What the lessons print when they are run on real data."""

from __future__ import annotations

import re

import pytest
from executed import executed
from repository import NOTEBOOKS

ROW = re.compile(
    r"^(from scratch|frozen backbone|fine-tuned) +([\d.]+)% +([\d.]+)% to ([\d.]+)% +"
    r"([\d.]+) s +([\d,]+)$",
    re.M,
)


def printed(name: str) -> str:
    """Return everything that a lesson prints."""
    (path,) = [path for path in NOTEBOOKS if path.name.startswith(name)]
    outputs = [out for cell in executed(path).cells for out in cell.get("outputs", [])]
    return "".join(out.text for out in outputs if out.output_type == "stream")


@pytest.mark.photos
def test_lesson_09_on_the_photographs(photos):
    text = printed("09")
    assert "153 test pictures (photos)" in text
    rows = {name: numbers for name, *numbers in ROW.findall(text)}
    assert list(rows) == ["from scratch", "frozen backbone", "fine-tuned"]
    accuracy = {name: float(numbers[0]) for name, numbers in rows.items()}
    for accuracy_text, low, high, _, _ in rows.values():
        assert float(low) < float(accuracy_text) < float(high)
    assert float(rows["frozen backbone"][3]) < 60  # seconds on two cores
    trainable = {name: int(numbers[4].replace(",", "")) for name, numbers in rows.items()}
    assert trainable["frozen backbone"] < 5_000 < 1e6 < trainable["from scratch"]
    assert accuracy["frozen backbone"] >= 92
    assert accuracy["from scratch"] < accuracy["frozen backbone"] - 10
    assert accuracy["from scratch"] < accuracy["fine-tuned"]
    assert "imageNotFound.gif" in text
