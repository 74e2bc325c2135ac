"""Lesson 07: the day's results on one page, and a quiz that names the misconception.

`plot_day` draws a tile for each lesson with results from `cnnlab.lessons.results`. A quiz is a
list of `Question`, which `read_quiz` reads and `show_quiz` prints.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from cnnlab.data.downloads import packaged
from cnnlab.lessons.results import Result
from cnnlab.plotting import COLORS, styled

__all__ = ["Question", "feedback", "plot_day", "read_quiz", "show_quiz"]


@dataclass(frozen=True)
class Question:
    """A question and its answers.

    Attributes
    ----------
    lesson : str
        Two digits: where to read again.
    text : str
        The question.
    answers : mapping of str to str
        Answer -> feedback, the right one first. The feedback says why it is right; that of a
        wrong one names the misconception behind it.
    """

    lesson: str
    text: str
    answers: Mapping[str, str]

    @property
    def right(self) -> str:
        """The right answer."""
        return next(iter(self.answers))

    @property
    def options(self) -> list[str]:
        """The answers in alphabetical order, which gives the right one no place of its own."""
        return sorted(self.answers)


def read_quiz() -> list[Question]:
    """Return the quiz over the morning, from ``data/quiz.json``.

    Examples
    --------
    >>> question = read_quiz()[0]
    >>> question.right, question.options
    ('12', ['10', '11', '12', '13'])
    """
    rows = json.loads(packaged("quiz.json").read_text(encoding="utf-8"))
    return [Question(**row) for row in rows]


def feedback(question: Question, answer: str | None) -> str:
    """Return what an answer deserves to hear.

    Examples
    --------
    >>> sides = Question("04", "1 + 1?", {"2": "Yes.", "11": "That joins digits."})
    >>> feedback(sides, "11")
    '✗ That joins digits. (lesson 04)'
    >>> feedback(sides, None)
    '… not answered yet'
    """
    if answer is None:
        return "… not answered yet"
    if answer not in question.answers:
        raise ValueError(f"{answer!r} is none of the answers: {', '.join(question.answers)}")
    if answer == question.right:
        return f"✓ {question.answers[answer]}"
    return f"✗ {question.answers[answer]} (lesson {question.lesson})"


def show_quiz(questions: Sequence[Question], chosen: Mapping[int, str] | None = None) -> None:
    """Print the questions with lettered answers, and feedback for those that were answered.

    Parameters
    ----------
    questions : sequence of Question
        The quiz.
    chosen : mapping of int to str, optional
        Number of a question, from 1 -> letter of the answer, such as ``{1: "b"}``.

    Raises
    ------
    ValueError
        If a number or a letter does not exist.
    """
    chosen = chosen or {}
    if unknown := sorted(set(chosen) - set(range(1, len(questions) + 1))):
        raise ValueError(f"there is no question {unknown[0]}; they go from 1 to {len(questions)}")
    right = 0
    for number, question in enumerate(questions, start=1):
        print(f"{number}. {question.text}")
        lettered = dict(zip("abcdef", question.options, strict=False))
        for letter, answer in lettered.items():
            print(f"   {letter}) {answer}")
        if number not in chosen:
            continue
        if chosen[number] not in lettered:
            raise ValueError(f"question {number} has the answers {', '.join(lettered)}")
        answer = lettered[chosen[number]]
        right += answer == question.right
        print(f"   {feedback(question, answer)}")
    if chosen:
        print(f"{right} of {len(chosen)} answers right")


@styled()
def plot_day(results: Sequence[Result], questions: Mapping[str, str]) -> Figure:
    """Draw a tile for each lesson: its question, and its first three results.

    Parameters
    ----------
    results : sequence of Result
        From `recorded()`.
    questions : mapping of str to str
        Lesson, two digits -> what it asked; one tile each, in this order.

    Examples
    --------
    >>> figure = plot_day([Result("06", "field", 99, unit="pixels")], {"06": "What is seen?"})
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['06 · What is seen?', '99 pixels', 'field']
    """
    columns, rows = 3, math.ceil(len(questions) / 3)
    figure, grid = plt.subplots(rows, columns, figsize=(12, 2.8 * rows), squeeze=False)
    for ax in grid.flat:
        ax.axis("off")
    for ax, (lesson, question) in zip(grid.flat, questions.items(), strict=False):
        ax.add_patch(plt.Rectangle((0, 0), 1, 1, color="#eef1f4", transform=ax.transAxes))
        words = textwrap.fill(f"{lesson} · {question}", width=28)
        ax.text(0.04, 0.95, words, weight="bold", fontsize=13, va="top")
        own = [result for result in results if result.lesson == lesson]
        for y, result in zip((0.62, 0.39, 0.16), own, strict=False):
            name = textwrap.shorten(result.name, width=42, placeholder=" …")
            ax.text(0.04, y, str(result), color=COLORS[0], fontsize=13, va="center")
            ax.text(0.04, y - 0.105, name, fontsize=11, va="center", in_layout=False)
    return figure
