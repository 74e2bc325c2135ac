"""Every exercise of every lesson, found by itself, and what the engine says to odd answers."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from judges import EXERCISES

from cnnlab.exercises import ants_and_bees
from cnnlab.exercises.comparison import differences, show
from cnnlab.exercises.engine import Exercise, ExerciseError, exercise
from cnnlab.fields import receptive_field
from cnnlab.runtime import in_notebook

every_exercise = pytest.mark.parametrize("task", EXERCISES.values(), ids=EXERCISES.keys())
Check = Callable[[Exercise, Any], str]


def mistaken_answer(task: Exercise, diagnosis: str) -> Any:
    """Return the wrong answer, as a student would submit it: a value or a function."""
    if task.parameters:
        return lambda *inputs: task.mistakes(*inputs)[diagnosis]
    return task.mistakes()[diagnosis]


def blank_stub(*inputs: Any, **named: Any) -> Any:
    raise NotImplementedError


# ---------------------------------------------------------------- every exercise of every lesson


@every_exercise
def test_the_reference_passes(task: Exercise, said: Check, monkeypatch: Any) -> None:
    monkeypatch.setenv("CNNLAB_STRICT", "1")
    assert said(task, task.reference).startswith("✓ correct — ")


@every_exercise
def test_the_shown_solution_can_be_pasted_and_passes(task: Exercise, capsys: Any) -> None:
    task.solution()
    source = capsys.readouterr().out
    notebook = {"torch": torch}
    exec(compile(source, "<stub cell>", "exec"), notebook)
    task.check(notebook[task.name])
    assert capsys.readouterr().out.startswith("✓ correct")
    assert source == task.source() and "@" not in source.splitlines()[0]


@every_exercise
def test_a_blank_stub_is_not_attempted(task: Exercise, said: Check, monkeypatch: Any) -> None:
    blanks = [None, ..., blank_stub] if task.parameters else [None, ...]
    assert {said(task, blank) for blank in blanks} == {"… not attempted yet\n"}
    monkeypatch.setenv("CNNLAB_STRICT", "1")
    for blank in blanks:
        with pytest.raises(ExerciseError, match="not attempted"):
            task.check(blank)


@every_exercise
def test_each_mistake_gets_its_diagnosis(task: Exercise, said: Check, monkeypatch: Any) -> None:
    assert len(task.misconceptions()) >= 3
    for diagnosis in task.misconceptions():
        first_line, *example = said(task, mistaken_answer(task, diagnosis)).splitlines()
        assert first_line == f"✗ not yet — {diagnosis}"
        assert example, "an example belongs to every diagnosis"
    monkeypatch.setenv("CNNLAB_STRICT", "1")
    with pytest.raises(ExerciseError, match="not yet"):
        task.check(mistaken_answer(task, diagnosis))


@every_exercise
def test_no_two_mistakes_give_the_same_answers(task: Exercise) -> None:
    for (a, one), (b, other) in combinations(task.misconceptions().items(), 2):
        assert any(differences(one, other)), f"{a!r} equals {b!r}"


@every_exercise
def test_the_random_numbers_of_the_notebook_stay_as_they_are(task: Exercise, said: Check) -> None:
    torch.manual_seed(7)
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    said(task, mistaken_answer(task, next(iter(task.misconceptions()))))
    if task.parameters:
        said(task, lambda *inputs: torch.rand(()).item())
    assert torch.equal(torch.get_rng_state(), before)
    assert np.random.get_state()[1].tolist() == before_numpy  # noqa: NPY002


@every_exercise
def test_hints_come_one_by_one_and_run_out(task: Exercise, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(task, "_hints_shown", 0)
    for number, hint in enumerate(task.hints, start=1):
        task.hint()
        assert capsys.readouterr().out == f"Hint {number} of {len(task.hints)}: {hint}\n"
    for _ in range(2):
        task.hint()
        assert "No more hints" in capsys.readouterr().out


@every_exercise
@pytest.mark.parametrize(
    "result", ["ants", None, 7, [None], [[1], [2, 3]], object(), {"lr": 1}, (), float("nan")]
)
def test_a_strange_result_is_wrong_but_stops_nothing(
    task: Exercise, result: Any, said: Check
) -> None:
    if task.parameters:
        report = said(task, lambda *inputs: result)
        assert report.startswith("✗ not yet — ") and f"{task.name}(" in report
    elif result is not None:
        assert said(task, result).startswith("✗ not yet — ")


# ------------------------------------------------------------------------- the engine's own parts


def mistaken_strides() -> dict[str, Any]:
    return {"strides multiply, not add": 6, "the first stride counts too": 4, "a stride is ≥ 1": 0}


@exercise(hints=["One step at the output."], mistakes=mistaken_strides)
def total_stride() -> int:
    """Return the stride of three layers of stride 2."""
    strides = [2, 2, 2]
    return strides[0] * strides[1] * strides[2]


@exercise(
    hints=["Add."],
    mistakes=lambda a, b=2: {"no": -1},
    cases=lambda generator: [(1, 2), (3,), (0, 1)],
)
def total(a: int, b: int = 2) -> int:
    return a + b


def test_a_value_can_be_asked_for_and_stays_secret(said: Check) -> None:
    assert said(total_stride, 8).startswith("✓ correct")
    assert said(total_stride, 6).startswith("✗ not yet — strides multiply, not add\n")
    assert said(total_stride, 5) == "✗ not yet — 5 is too small\n    your answer: 5\n"
    assert "total_stride must be a value" in said(total_stride, lambda: 8)
    assert total_stride.reference == 8
    assert total_stride.source() == (
        "strides = [2, 2, 2]\ntotal_stride = strides[0] * strides[1] * strides[2]\n"
    )


def test_a_function_is_shown_the_first_example_that_differs(said: Check) -> None:
    assert (total.name, total.parameters) == ("total", "a, b=2")
    assert said(total, lambda a, b=2: a + 2).splitlines() == [
        "✗ not yet — 1 of 3 examples differ from the solution; the first:",
        "    total(0, 1)",
        "    expected 1, got 2",
    ]
    assert "expected 0.490157, got 0.1 (one of 2 differences)" in said(
        ants_and_bees.wilson_interval, lambda correct, total, z=1.96: (0.1, 0.2)
    )


def test_a_crash_is_reported_with_its_line(said: Check, monkeypatch: Any) -> None:
    def crashing(a: int, b: int = 2) -> Any:
        return {}["no such key"]

    @exercise(hints=[], mistakes=lambda x: {"no": 0}, cases=lambda generator: [(-1,)])
    def root(x: int) -> float:
        return 1.0

    report = said(total, crashing)
    line = crashing.__code__.co_firstlineno + 1
    assert f'in line {line}: `return {{}}["no such key"]`' in report
    assert "KeyError: 'no such key'" in report and "total(1, 2)" in report
    assert "stopped with an error\n" in said(root, math.sqrt)  # without a line of Python
    monkeypatch.setenv("CNNLAB_STRICT", "1")
    with pytest.raises(ExerciseError, match="KeyError"):
        total.check(crashing)


def test_a_reason_with_not_implemented_is_passed_on(said: Check) -> None:
    def unsupported(*inputs: Any) -> Any:
        raise NotImplementedError("this operator has no such backend")

    assert "not attempted yet (this operator" in said(total, unsupported)


@pytest.mark.parametrize("value", ["", "0"])
def test_an_empty_or_zero_switch_is_not_strict(value: str, said: Check, monkeypatch: Any) -> None:
    monkeypatch.setenv("CNNLAB_STRICT", value)
    assert said(total, None) == "… not attempted yet\n"


def test_where_nothing_is_to_be_returned_none_is_fine(said: Check) -> None:
    @exercise(
        hints=[],
        mistakes=lambda numbers: {"still there": 1},
        cases=lambda generator: [([1],)],
        normalize=lambda result, numbers: len(numbers),
    )
    def clear(numbers: list) -> None:
        numbers.clear()

    assert said(clear, lambda numbers: numbers.clear()).startswith("✓ correct")
    assert said(clear, lambda numbers: numbers).startswith("✗ not yet — still there")


def test_the_solution_of_a_value_replaces_the_last_return_only() -> None:
    @exercise(hints=[], mistakes=lambda: {"no": 0})
    def answer() -> int:
        words = "what they return is kept"
        return len(words)

    assert answer.source() == 'words = "what they return is kept"\nanswer = len(words)\n'


def test_the_examples_come_from_the_generator_and_a_seeded_torch(said: Check) -> None:
    def cases(generator: torch.Generator) -> Any:
        yield torch.rand(2, generator=generator), torch.rand(2)

    @exercise(hints=[], mistakes=lambda x, y: {"no": x - y}, cases=cases)
    def added(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y

    assert torch.equal(added.outcomes(torch.add)[0], added.outcomes(torch.add)[0])
    assert said(added, torch.add).startswith("✓ correct")


def test_the_answer_is_not_changed(said: Check) -> None:
    @exercise(hints=[], mistakes=lambda: {"no": torch.ones(2)})
    def kernel() -> torch.Tensor:
        return torch.tensor([1.0, 2.0])

    answer = torch.tensor([1.0, 2.0], requires_grad=True)
    assert said(kernel, answer).startswith("✓ correct")
    assert answer.tolist() == [1.0, 2.0] and answer.requires_grad and answer.grad is None


def test_in_a_notebook_the_solution_is_folded_and_highlighted(monkeypatch: Any) -> None:
    displayed: list[Any] = []
    monkeypatch.setattr("IPython.get_ipython", lambda: type("Shell", (), {"kernel": None})())
    assert in_notebook()
    monkeypatch.setattr("IPython.display.display", displayed.append)
    ants_and_bees.wilson_interval.solution()
    page = displayed[0].data
    assert page.startswith("<details><summary>") and "wilson_interval" in page
    assert '<span class="k">def</span>' in page


@pytest.mark.parametrize(
    ("expected", "got", "words", "without_answer"),
    [
        (1.0, 1.0 + 1e-7, None, None),
        (1.0, torch.tensor([1.0]), None, None),
        (3, np.float32(3), None, None),
        (
            2**40,
            2**40 + 1,
            "expected 1099511627776, got 1099511627777",
            "1099511627777 is too large",
        ),
        (1.5, "1.5", "expected 1.5, got '1.5'", "'1.5' is wrong"),
        (1.5, [1.5, 1.5], "expected 1.5, got [1.5, 1.5]", "[1.5, 1.5] is wrong"),
        (1.5, float("nan"), "expected 1.5, got nan", "nan is wrong"),
        ((1, 2), np.array([1, 2]), None, None),
        ((1, 2), [1, 3], "at [1]: expected 2, got 3", "at [1]: 3 is too large"),
        ((1, 2), (1,), "at [1]: expected 2, got nothing", "at [1]: a value is missing"),
        ([1], [1, 2], "at [1]: expected nothing, got 2", "at [1]: 2 is wrong"),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "at ['a']['b']: expected 1, got 2", None),
        ({"a": 1}, [1], "expected {'a': 1}, got [1]", "[1] is wrong"),
        (torch.zeros(2), torch.full((2,), 1e-9).double(), None, None),
        (torch.zeros(2), [0, 0], None, None),
        (
            torch.zeros(2, 1),
            torch.zeros(1, 2),
            "expected torch.Size([2, 1]), got torch.Size([1,",
            None,
        ),
        (torch.zeros(2, 2), [[0, 0], [0]], "expected torch.Size([2, 2]), got [[0, 0], [0]]", None),
        (torch.arange(2), torch.tensor([0, 2]), "at [1]: expected 1, got 2", None),
    ],
)
def test_differences_are_put_in_words(
    expected: Any, got: Any, words: str | None, without_answer: str | None
) -> None:
    found = list(differences(expected, got))
    if words is None:
        assert found == []
    else:
        assert str(found[0]).startswith(words)
        assert without_answer in (None, found[0].without_answer())


def test_what_is_shown_stays_short() -> None:
    assert show("x" * 1000).endswith("…") and len(show("x" * 1000)) == 160
    model = torch.nn.ModuleDict({"conv": torch.nn.Conv2d(1, 1, 3)})
    assert show(model) == "ModuleDict(conv)"
    assert show(receptive_field(model["conv"], (1, 8, 8))).startswith("ReceptiveFields(")
