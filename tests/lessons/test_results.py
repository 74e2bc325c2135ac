"""Results that lessons keep for the summary."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from cnnlab.lessons import results
from cnnlab.lessons.results import Result, record, recorded


@pytest.fixture(autouse=True)
def cache(own_cache):
    return own_cache


def own():
    return [result for result in recorded() if result.here]


def test_what_was_recorded_is_read_in_the_order_of_lessons():
    record("09", "fine-tuned", 0.85, 0.78, 0.9, unit="%", source="photos")
    record("03", "Dice", 0.93)
    assert [(r.lesson, r.name, r.value) for r in own()] == [
        ("03", "Dice", 0.93),
        ("09", "fine-tuned", 0.85),
    ]
    assert str(own()[1]) == "85.0 % (78.0 to 90.0)" and own()[1].source == "photos"


def test_a_second_run_replaces_the_first():
    record("03", "Dice", 0.5)
    record("03", "other", 1)
    record("03", "Dice", 0.93)
    assert {r.name: r.value for r in own()} == {"other": 1, "Dice": 0.93}


def test_own_results_go_before_published_ones(tmp_path, monkeypatch):
    path = tmp_path / "published.json"
    rows = [
        {"lesson": "03", "name": "Dice", "value": 0.9},
        {"lesson": "06", "name": "x", "value": 1},
    ]
    path.write_text(json.dumps(rows))
    monkeypatch.setattr(results, "packaged", lambda *parts: path)
    record("03", "Dice", 0.95)
    assert [(r.lesson, r.value, r.here) for r in recorded()] == [
        ("03", 0.95, True),
        ("06", 1, False),
    ]


def test_a_damaged_file_is_a_cache_miss(cache):
    record("03", "Dice", 0.5)
    (cache / "results" / "03.json").write_text("[{")
    assert own() == []
    record("03", "Dice", 0.6)
    assert own()[0].value == 0.6


def test_a_folder_that_cannot_be_written_stops_no_lesson(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CNNLAB_DATA", str(tmp_path / "file"))
    record("03", "Dice", 0.5)
    assert "could not be kept" in capsys.readouterr().out


def test_a_lesson_is_two_digits():
    with pytest.raises(ValueError, match="two digits"):
        record("../3", "Dice", 0.5)


def test_publishing_needs_results(cache):
    command = [sys.executable, "-m", "cnnlab.lessons.results"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1 and "no lesson has been run here" in result.stderr


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (Result("03", "a", 0.93456), "0.9346"),
        (Result("02", "a", 25_557_032), "25,557,032"),
        (Result("06", "a", 427, unit="pixels"), "427 pixels"),
        (Result("09", "a", 0.5, 0.4, 0.6, "%"), "50.0 % (40.0 to 60.0)"),
    ],
)
def test_numbers_are_words(result, words):
    assert str(result) == words


def test_a_chosen_folder_keeps_results_out_of_the_data_folder(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("CNNLAB_RESULTS", str(tmp_path / "chosen"))
    record("03", "Dice", 0.5)
    assert [path.name for path in (tmp_path / "chosen").iterdir()] == ["03.json"]
    assert own()[0].value == 0.5 and not (cache / "results").exists()
