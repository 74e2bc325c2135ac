"""What the lessons print and record when they are run."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from executed import executed
from repository import NOTEBOOKS, ROOT

from cnnlab.lessons.results import recorded

ROW = re.compile(
    r"^(from scratch|frozen backbone|fine-tuned) +([\d.]+)% +([\d.]+)% to ([\d.]+)% ", re.M
)


def printed(name: str) -> str:
    """Return everything that a lesson prints."""
    (path,) = [path for path in NOTEBOOKS if path.name.startswith(name)]
    outputs = [out for cell in executed(path).cells for out in cell.get("outputs", [])]
    return "".join(out.text for out in outputs if out.output_type == "stream")


@pytest.mark.photos
def test_lesson_09_on_the_photographs(photos):
    text = printed("09")
    assert "153 test images (photos)" in text and "imageNotFound.gif" in text
    rows = {name: [float(number) for number in numbers] for name, *numbers in ROW.findall(text)}
    assert list(rows) == ["from scratch", "frozen backbone", "fine-tuned"]
    assert all(low < mean < high for mean, low, high in rows.values())
    assert rows["frozen backbone"][0] >= 93 and rows["fine-tuned"][0] >= 92.5  # means of five seeds


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_lesson_causes_no_warning(path: Path) -> None:
    outputs = [out for cell in executed(path).cells for out in cell.get("outputs", [])]
    errors = "".join(out.text for out in outputs if out.get("name") == "stderr")
    assert not re.search(r"\w*Warning\b.*", errors)


PUBLISHED = json.loads((ROOT / "data/published/lesson_results.json").read_text("utf-8"))
RECORDING = sorted({result["lesson"] for result in PUBLISHED})


@pytest.mark.parametrize("lesson", RECORDING)
def test_a_lesson_still_measures_what_was_published(lesson: str) -> None:
    """Lesson 07 shows the published numbers where a machine has none of its own."""
    printed(lesson)  # executed, it has recorded its results
    here = {result.name: result for result in recorded() if result.here}
    compared = 0
    for old in (result for result in PUBLISHED if result["lesson"] == lesson):
        new = here[old["name"]]
        if new.source == old["source"]:  # published are those on drawings and digits
            low, high = old["low"] or old["value"], old["high"] or old["value"]
            slack = max(0.05 * abs(old["value"]), 0.03 if old["unit"] == "%" else 0)
            assert low - slack <= new.value <= high + slack, old["name"]
            compared += 1
    assert compared or os.environ.get("CNNLAB_MIRROR"), "nothing was measured on the same data"
