"""The quiz: every answer gets feedback, in the form and in plain text."""

from __future__ import annotations

import pytest

from cnnlab.exercises.day import QUIZ
from cnnlab.lessons.day import Question, feedback, quiz_form, show_quiz

LETTERS = "abcdef"


def letter(question: Question, answer: str) -> str:
    return LETTERS[question.options.index(answer)]


def test_twelve_questions_from_every_lesson() -> None:
    assert len(QUIZ) == 12
    assert {question.lesson for question in QUIZ} == {
        "01",
        "02",
        "03",
        "04",
        "05",
        "06",
        "08",
        "09",
    }
    places = {letter(question, question.right) for question in QUIZ}
    assert len(places) >= 3 and all(len(question.answers) >= 3 for question in QUIZ)


@pytest.mark.parametrize("question", QUIZ, ids=lambda question: question.text[:30])
def test_each_wrong_answer_has_its_own_misconception(question: Question) -> None:
    replies = [feedback(question, answer) for answer in question.answers]
    assert len(set(replies)) == len(replies)
    assert [reply[0] for reply in replies].count("✓") == 1
    assert feedback(question, question.right)[0] == "✓"
    assert all(f"lesson {question.lesson}" in reply for reply in replies if reply[0] == "✗")


def test_the_plain_text_counts_right_answers(capsys: pytest.CaptureFixture[str]) -> None:
    right = {i: letter(q, q.right) for i, q in enumerate(QUIZ, start=1)}
    show_quiz(QUIZ, right)
    assert capsys.readouterr().out.endswith("12 of 12 answers right\n")
    wrong = {1: next(x for x in "abc" if x != right[1])}
    show_quiz(QUIZ, wrong)
    text = capsys.readouterr().out
    assert text.endswith("0 of 1 answers right\n") and text.count("✗") == 1
    show_quiz(QUIZ)
    assert "answers right" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("chosen", "words"), [({13: "a"}, "no question 13"), ({1: "z"}, "a, b, c")]
)
def test_answers_that_do_not_exist_are_named(chosen: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        show_quiz(QUIZ, chosen)


def test_the_form_answers_as_the_text_does() -> None:
    form = quiz_form(QUIZ)
    for number, question in enumerate(QUIZ):
        text, choice, reply = form.children[3 * number : 3 * number + 3]
        assert question.text in text.value and reply.value == "… not answered yet"
        for answer in question.answers:
            choice.value = answer
            assert reply.value == feedback(question, answer)
