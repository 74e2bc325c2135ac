"""The quiz: every answer gets feedback, in the form and in plain text."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from cnnlab.lessons.day import Question, feedback, read_quiz, show_quiz

LETTERS = "abcdef"
QUIZ = read_quiz()


def letter(question: Question, answer: str) -> str:
    return LETTERS[question.options.index(answer)]


def test_twelve_questions_from_every_lesson_of_the_morning() -> None:
    assert len(QUIZ) == 12
    assert {question.lesson for question in QUIZ} == {f"0{lesson}" for lesson in range(7)}
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


def seen(*layers: torch.nn.Module) -> int:
    """Return how many pixels have a gradient with respect to one output."""
    x = torch.zeros(1, 1, 99, requires_grad=True)
    torch.nn.Sequential(*layers)(x)[0, 0, 2].backward()
    return int((x.grad != 0).sum())


def three_by_three(*strides: int) -> list[torch.nn.Module]:
    return [torch.nn.Conv1d(1, 1, 3, stride) for stride in strides]


X, Y = torch.zeros(1, 1, 33), torch.zeros(1, 1, 8)
SLIPS = {  # a question that asks for a number: the right way, then what each slip gives
    "33 pixels": {
        "right": lambda: F.conv1d(X, torch.ones(1, 1, 5), stride=3, padding=3).numel(),
        "forgets the padding": lambda: F.conv1d(X, torch.ones(1, 1, 5), stride=3).numel(),
        "first position is missing": lambda: (33 + 6 - 5) // 3,
        "rounds up": lambda: math.ceil((33 + 6 - 5) / 3) + 1,
    },
    "nn.Conv2d(16, 32, 3)": {
        "right": lambda: sum(p.numel() for p in torch.nn.Conv2d(16, 32, 3).parameters()),
        "biases are missing": lambda: torch.nn.Conv2d(16, 32, 3).weight.numel(),
        "for every input channel": lambda: sum(
            p.numel() for p in torch.nn.Conv2d(1, 32, 3).parameters()
        ),
        "one output channel": lambda: sum(
            p.numel() for p in torch.nn.Conv2d(16, 1, 3).parameters()
        ),
    },
    "makes of 8 pixels": {
        "right": lambda: F.conv_transpose1d(Y, torch.ones(1, 1, 3), None, 2, 1).numel(),
        "output_padding": lambda: F.conv_transpose1d(Y, torch.ones(1, 1, 3), None, 2, 1, 1).numel(),
        "other direction": lambda: F.conv1d(Y, torch.ones(1, 1, 3), stride=2, padding=1).numel(),
        "padding crops": lambda: F.conv_transpose1d(Y, torch.ones(1, 1, 3), None, 2).numel(),
    },
    "strides 3, 2 and 1": {
        "right": lambda: seen(*three_by_three(3, 2, 1)),
        "forgets the strides": lambda: seen(*three_by_three(1, 1, 1)),
        "sizes do not multiply": lambda: 3 * 3 * 3,
        "adds the strides": lambda: 1 + 2 * 1 + 2 * 3 + 2 * (3 + 2),
    },
}


def test_every_question_that_asks_for_a_number_has_its_slips() -> None:
    numbers = [q for q in QUIZ if q.right.split()[0].isdigit()]
    assert [sum(words in q.text for q in numbers) for words in SLIPS] == [1] * len(numbers)


@pytest.mark.parametrize("words", SLIPS)
def test_each_slip_leads_to_its_option_and_to_no_other(words: str) -> None:
    (question,) = [question for question in QUIZ if words in question.text]
    option = {answer.split()[0]: answer for answer in question.answers}
    given = {slip: str(compute()) for slip, compute in SLIPS[words].items()}
    assert sorted(given.values()) == sorted(option)  # one option each, and none is left over
    assert option[given.pop("right")] == question.right
    for slip, number in given.items():
        assert slip in feedback(question, option[number])
        assert sum(slip in feedback(question, answer) for answer in question.answers) == 1
