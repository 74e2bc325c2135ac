"""Lesson 01's exercises on answers that students write in other ways."""

from __future__ import annotations

from typing import Any

import pytest

from cnnlab.exercises import datasets as ex


@pytest.fixture(autouse=True)
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CNNLAB_STRICT", raising=False)


@pytest.mark.parametrize(
    "answer", ["BCEF", "b, c, e, f", "FECB", {"B", "C", "E", "F"}, ["b", "c", "e", "f"]]
)
def test_letters_may_be_written_in_any_way(answer: Any, capsys: Any) -> None:
    ex.leaking_splits.check(answer)
    assert capsys.readouterr().out.startswith("✓ correct")


@pytest.mark.parametrize("answer", ["", "XY", 4, ["B", "G"]])
def test_other_answers_are_told_the_form(answer: Any, capsys: Any) -> None:
    ex.leaking_splits.check(answer)
    assert 'letters from A to F, such as "AC"' in capsys.readouterr().out


def test_two_mistakes_at_once_do_not_reveal_the_solution(capsys: Any) -> None:
    ex.leaking_splits.check("BC")
    report = capsys.readouterr().out
    assert "another value is right" in report and "E" not in report and "F" not in report


def test_both_kinds_of_standard_deviation_and_precision_pass(capsys: Any) -> None:
    def flat(train: Any, test: Any) -> Any:
        x = train.transpose(0, 1).flatten(1).double() / 255
        return [x.mean(dim=1), x.std(dim=1, correction=0)]

    ex.channel_statistics.check(flat)
    assert capsys.readouterr().out.startswith("✓ correct")


def test_means_alone_are_told_what_is_missing(capsys: Any) -> None:
    ex.channel_statistics.check(lambda train, test: train.float().mean(dim=(0, 2, 3)))
    assert "give back two tensors" in capsys.readouterr().out
