"""Every exercise of every lesson, found by itself, and the engine on odd answers."""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Callable
from importlib import import_module
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

import cnnlab.exercises
from cnnlab.exercises import ants_and_bees as ex
from cnnlab.exercises.comparison import difference, show
from cnnlab.exercises.engine import Exercise, ExerciseError, exercise
from cnnlab.runtime import in_notebook

EXERCISES = {
    f"{module.name}.{name}": value
    for module in pkgutil.iter_modules(cnnlab.exercises.__path__)
    for name, value in vars(import_module(f"cnnlab.exercises.{module.name}")).items()
    if isinstance(value, Exercise)
}
MISCONCEPTIONS = [
    pytest.param(task, diagnosis, id=f"{name}-{number}")
    for name, task in EXERCISES.items()
    for number, diagnosis in enumerate(task.misconceptions())
]
every_exercise = pytest.mark.parametrize("task", EXERCISES.values(), ids=EXERCISES.keys())


@pytest.fixture(autouse=True)
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CNNLAB_STRICT", raising=False)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[Exercise, Any], str]:
    """Return what the check of an exercise prints about an answer."""

    def check(task: Exercise, answer: Any) -> str:
        task.check(answer)
        return capsys.readouterr().out

    return check


def as_answer(task: Exercise, function: Callable[..., Any]) -> Any:
    """Return what a student would hand in: the function, or its value if a value is asked for."""
    return function if task.parameters else function()


def blank_stub(*inputs: Any, **named: Any) -> Any:
    raise NotImplementedError


def test_the_lesson_offers_its_three_exercises() -> None:
    names = ["majority_baseline", "parameter_groups", "wilson_interval"]
    assert [name.split(".")[1] for name in EXERCISES if name.startswith("ants_and_bees.")] == names
    assert ex.__all__ == names


# ---------------------------------------------------------------- every exercise of every lesson


@every_exercise
def test_the_reference_passes(task: Exercise, said: Callable, monkeypatch: Any) -> None:
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
    assert "@" not in source.splitlines()[0]


@every_exercise
def test_a_blank_stub_is_not_attempted(task: Exercise, said: Callable, monkeypatch: Any) -> None:
    blanks = [None, ..., blank_stub] if task.parameters else [None, ...]
    assert {said(task, blank) for blank in blanks} == {"… not attempted yet\n"}
    monkeypatch.setenv("CNNLAB_STRICT", "1")
    for blank in blanks:
        with pytest.raises(ExerciseError, match="not attempted"):
            task.check(blank)


@pytest.mark.parametrize(("task", "diagnosis"), MISCONCEPTIONS)
def test_a_misconception_gets_its_diagnosis(
    task: Exercise, diagnosis: str, said: Callable, monkeypatch: Any
) -> None:
    answer = as_answer(task, task.misconceptions()[diagnosis])
    first_line, *example = said(task, answer).splitlines()
    assert first_line == f"✗ not yet — {diagnosis}"
    assert example, "an example belongs to every diagnosis"
    monkeypatch.setenv("CNNLAB_STRICT", "1")
    with pytest.raises(ExerciseError) as raised:
        task.check(answer)
    assert diagnosis in str(raised.value)


@every_exercise
def test_no_two_misconceptions_give_the_same_answers(task: Exercise) -> None:
    outcomes = {name: task.outcomes(wrong) for name, wrong in task.misconceptions().items()}
    assert len(outcomes) >= 3
    for a, b in combinations(outcomes, 2):
        pairs = zip(outcomes[a], outcomes[b], strict=True)
        assert any(difference(x.output, y.output) for x, y in pairs), f"{a!r} equals {b!r}"


@every_exercise
def test_the_random_numbers_of_the_notebook_stay_as_they_are(
    task: Exercise, said: Callable
) -> None:
    torch.manual_seed(7)
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    said(task, task.reference)
    said(task, as_answer(task, next(iter(task.misconceptions().values()))))
    task.misconceptions()
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
def test_a_crash_is_reported_with_its_line(
    task: Exercise, said: Callable, monkeypatch: Any
) -> None:
    def crashing(*inputs: Any) -> Any:
        return {}["no such key"]

    if not task.parameters:
        pytest.skip("asks for a value")
    report = said(task, crashing)
    line = crashing.__code__.co_firstlineno + 1
    assert f'in line {line}: `return {{}}["no such key"]`' in report
    assert "KeyError: 'no such key'" in report and f"{task.name}(" in report
    monkeypatch.setenv("CNNLAB_STRICT", "1")
    with pytest.raises(ExerciseError, match="KeyError"):
        task.check(crashing)


# -------------------------------------------------------------------------------- odd answers


@pytest.mark.parametrize("name", ex.__all__)
@pytest.mark.parametrize("result", ["ants", None, 7, [None], object(), {"lr": 1}, (), float("nan")])
def test_a_strange_result_is_wrong_but_stops_nothing(name: str, result: Any, said: Any) -> None:
    report = said(getattr(ex, name), lambda *inputs: result)
    assert report.startswith("✗ not yet — ") and f"{name}(" in report


def test_a_missing_return_is_named(said: Callable) -> None:
    assert "None back: is its return missing?" in said(ex.wilson_interval, lambda *inputs: None)


@pytest.mark.parametrize("answer", [0.25, "0.25", torch.zeros(2)])
def test_a_result_in_place_of_the_function_is_named(answer: Any, said: Callable) -> None:
    assert "the function itself, not its result" in said(ex.majority_baseline, answer)


def test_a_wrong_signature_is_named(said: Callable) -> None:
    report = said(ex.wilson_interval, lambda correct: (0.0, 1.0))
    assert "must begin with `def wilson_interval(correct, total, z=1.96)`" in report
    assert "takes 1 positional argument but 2 were given" in report


def test_a_type_error_inside_the_function_is_no_wrong_signature(said: Callable) -> None:
    report = said(ex.wilson_interval, lambda correct, total, z=1.96: correct + "1")
    assert "stopped with an error in line" in report and "must begin" not in report


def test_an_unlisted_mistake_shows_the_first_example_that_differs(said: Callable) -> None:
    report = said(ex.wilson_interval, lambda correct, total, z=1.96: (0.0, 1.0))
    assert report.splitlines() == [
        "✗ not yet — 6 of 6 examples differ from the solution; the first:",
        "    wilson_interval(8, 10)",
        "    at 0: expected 0.490157, got 0",
    ]


def test_other_ways_to_write_the_right_answer_pass(said: Callable) -> None:
    def baseline(train: torch.Tensor, test: torch.Tensor) -> torch.Tensor:
        return (test == train.mode().values).double().mean()  # a tensor without dimensions

    def interval(correct: int, total: int, z: float = 1.96) -> list[float]:
        low, high = ex.wilson_interval.reference(correct, total, z)
        return [low, np.float64(high)]

    def groups(model: Any, head_name: str, lr: float, backbone_factor: float = 0.1) -> list[dict]:
        head = list(model.get_submodule(head_name).parameters())
        body = (p for p in model.parameters() if p.requires_grad and all(p is not q for q in head))
        return [{"lr": lr, "params": head}, {"lr": lr * backbone_factor, "params": body}]

    for task, answer in [
        (ex.majority_baseline, baseline),
        (ex.wilson_interval, interval),
        (ex.parameter_groups, groups),
    ]:
        assert said(task, answer).startswith("✓ correct")


def test_a_used_up_generator_is_named(said: Callable) -> None:
    def groups(model: Any, head_name: str, lr: float, backbone_factor: float = 0.1) -> list[dict]:
        named = ((name, p) for name, p in model.named_parameters() if p.requires_grad)
        body = [p for name, p in named if not name.startswith(f"{head_name}.")]
        head = [p for name, p in named if name.startswith(f"{head_name}.")]
        return [{"params": body, "lr": lr * backbone_factor}, {"params": head, "lr": lr}]

    report = said(ex.parameter_groups, groups)
    assert "It is empty after the first loop" in report and "'fc.weight' is missing" in report


def test_torch_accepts_the_groups_and_refuses_the_doubled_ones() -> None:
    model = torch.nn.ModuleDict({"conv": torch.nn.Linear(2, 2), "fc": torch.nn.Linear(2, 2)})
    torch.optim.SGD(ex.parameter_groups.reference(model, "fc", 0.1))
    doubled = ex.parameter_groups.misconceptions()[
        "the head is in both groups, which torch refuses"
    ]
    with pytest.raises(ValueError, match="more than one parameter group"):
        torch.optim.SGD(doubled(model, "fc", 0.1))


def test_wilson_agrees_with_published_numbers() -> None:
    low, high = ex.wilson_interval.reference(143, 153)
    assert (round(low, 3), round(high, 3)) == (0.884, 0.964)


# ------------------------------------------------------------------------- the engine's own parts


def mistaken_strides() -> dict[str, Any]:
    return {"strides multiply, not add": 6, "the first stride counts too": 4, "a stride is ≥ 1": 0}


@exercise(hints=["One step at the output."], mistakes=mistaken_strides)
def total_stride() -> int:
    """Return the stride of three layers of stride 2."""
    strides = [2, 2, 2]
    return strides[0] * strides[1] * strides[2]


def test_a_value_can_be_asked_for_and_stays_secret(said: Callable) -> None:
    assert said(total_stride, 8).startswith("✓ correct")
    assert said(total_stride, 6).startswith("✗ not yet — strides multiply, not add\n")
    assert said(total_stride, 5) == "✗ not yet — another value is right\n    your answer: 5\n"
    assert "total_stride must be a value" in said(total_stride, lambda: 8)
    assert total_stride.reference == 8


def test_the_solution_of_a_value_is_an_assignment() -> None:
    assert total_stride.source() == (
        "strides = [2, 2, 2]\ntotal_stride = strides[0] * strides[1] * strides[2]\n"
    )


def test_an_exercise_knows_its_name_its_signature_and_begins_with_the_first_hint(
    capsys: Any, said: Callable
) -> None:
    def wrong(a: int, b: int = 2) -> dict[str, Any]:
        return {"no": -1}

    @exercise(hints=["Add."], mistakes=wrong, cases=lambda generator: [(1, 2), (3, 4)])
    def total(a: int, b: int = 2) -> int:
        return a + b

    assert (total.name, total.parameters) == ("total", "a, b=2")
    total.hint()
    assert capsys.readouterr().out == "Hint 1 of 1: Add.\n"
    assert said(total, lambda: 3).startswith(
        "✗ not yet — your function must begin with `def total(a, b=2)`\n"
    )
    assert said(total, 3) == (
        "✗ not yet — total must be the function itself, not its result; this is 3\n"
    )
    assert "— your function gives None back: is its return missing?\n" in said(
        total, lambda a, b=2: None
    )


def test_where_nothing_is_to_be_returned_none_is_fine(said: Callable) -> None:
    def emptied(numbers: list) -> list:
        return numbers

    @exercise(
        hints=[], mistakes=lambda numbers: {"still there": 1}, cases=lambda generator: [([1],)],
        normalize=lambda result, numbers: len(numbers),
    )  # fmt: skip
    def clear(numbers: list) -> None:
        numbers.clear()

    @exercise(
        hints=[], mistakes=lambda numbers: {"still there": 1}, cases=lambda generator: [([1],)],
        normalize=lambda result, numbers: len(numbers),
    )  # fmt: skip
    def unannotated(numbers):
        numbers.clear()

    for task in (clear, unannotated):
        assert said(task, lambda numbers: numbers.clear()).startswith("✓ correct"), task
        assert said(task, emptied).startswith("✗ not yet — still there"), task


def test_the_solution_of_a_value_needs_no_docstring_and_replaces_the_last_return_only() -> None:
    @exercise(hints=[], mistakes=lambda: {"no": 0})
    def answer() -> int:
        words = "what they return is kept"
        return len(words)

    assert answer.source() == 'words = "what they return is kept"\nanswer = len(words)\n'


def test_in_a_terminal_the_solution_is_printed_as_it_is(capsys: Any) -> None:
    ex.wilson_interval.solution()
    assert capsys.readouterr().out == ex.wilson_interval.source()


def test_an_error_without_a_line_of_python_is_told_without_one(said: Callable) -> None:
    @exercise(hints=[], mistakes=lambda x: {"no": 0}, cases=lambda generator: [(-1,)])
    def root(x: int) -> float:
        return 1.0

    assert said(root, math.sqrt).startswith("✗ not yet — your function stopped with an error\n")


def test_a_result_that_cannot_be_compared_is_shown(said: Callable) -> None:
    @exercise(
        hints=[], mistakes=lambda x: {"no": 0}, cases=lambda generator: [(1,)],
        normalize=lambda result, x: float(result),
    )  # fmt: skip
    def number(x: int) -> float:
        return float(x)

    assert said(number, lambda x: "many") == (
        "✗ not yet — this cannot be the answer: 'many'\n    number(1)\n"
    )


def test_the_examples_come_from_the_generator_that_is_handed_over() -> None:
    seen = []

    @exercise(
        hints=[],
        mistakes=lambda x: {"no": -x},
        cases=lambda generator: [(seen.append(generator) or 1,)],
    )
    def same(x: int) -> int:
        return x

    same.check(lambda x: x)
    assert all(isinstance(generator, torch.Generator) for generator in seen) and seen


def test_the_answer_is_not_changed(said: Callable) -> None:
    @exercise(hints=[], mistakes=lambda: {"no": torch.ones(2)})
    def kernel() -> torch.Tensor:
        return torch.tensor([1.0, 2.0])

    answer = torch.tensor([1.0, 2.0], requires_grad=True)
    assert said(kernel, answer).startswith("✓ correct")
    assert answer.tolist() == [1.0, 2.0] and answer.requires_grad and answer.grad is None


def test_changing_the_input_in_place_does_not_spoil_the_comparison(said: Callable) -> None:
    def spoiling(train: torch.Tensor, test: torch.Tensor) -> float:
        train.zero_()
        return float((test.zero_() == 0).double().mean())

    assert said(ex.majority_baseline, spoiling).startswith("✗ not yet")


def test_a_random_answer_draws_nothing_from_the_notebook(said: Callable) -> None:
    def random(train: torch.Tensor, test: torch.Tensor) -> float:
        return torch.rand(()).item()

    torch.manual_seed(7)
    state = torch.get_rng_state()
    said(ex.majority_baseline, random)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("value", ["", "0"])
def test_an_empty_or_zero_switch_is_not_strict(
    value: str, said: Callable, monkeypatch: Any
) -> None:
    monkeypatch.setenv("CNNLAB_STRICT", value)
    assert said(ex.majority_baseline, None) == "… not attempted yet\n"


def test_a_reason_with_not_implemented_is_passed_on(said: Callable) -> None:
    def unsupported(*inputs: Any) -> Any:
        raise NotImplementedError("this operator has no such backend")

    assert "not attempted yet (this operator" in said(ex.majority_baseline, unsupported)


def test_in_a_notebook_the_solution_is_folded_and_highlighted(monkeypatch: Any) -> None:
    displayed: list[Any] = []
    monkeypatch.setattr("IPython.get_ipython", lambda: type("Shell", (), {"kernel": None})())
    assert in_notebook()
    monkeypatch.setattr("IPython.display.display", displayed.append)
    ex.wilson_interval.solution()
    page = displayed[0].data
    assert page.startswith("<details><summary>") and "wilson_interval" in page
    assert '<span class="k">def</span>' in page


@pytest.mark.parametrize(
    ("expected", "got", "words"),
    [
        (1.0, 1.0 + 1e-7, None),
        (4_089_184_256, 4_089_184_257, "expected 4089184256, got 4089184257"),
        (1.5, "1.5", "expected 1.5, got '1.5', a str"),
        ((1, 2), [1, 2], None),
        ((1, 2), [1, 3], "at 1: expected 2, got 3"),
        ((1, 2), (1,), "1 is missing"),
        ([1], [1, 2], "1 should not be there"),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "at 'a': at 'b': expected 1, got 2"),
        (torch.zeros(2, 3), torch.zeros(3, 2), "expected shape (2, 3), got shape (3, 2)"),
        (torch.zeros(2), torch.zeros(2).double(), "right values, but expected torch.float32"),
        (torch.zeros(2), [0.0, 0.0], "expected tensor([0, 0]), got [0, 0], a list"),
        (torch.arange(2), torch.tensor([0, 2]), "expected tensor([0, 1]), got tensor([0, 2])"),
        (torch.zeros(5, 5), torch.eye(5), "5 of 25 values are wrong: at [0, 0] expected 0, got 1"),
        (torch.zeros(2), torch.full((2,), 1e-9), None),
        (torch.tensor([float("nan")]), torch.tensor([float("nan")]), None),
    ],
)
def test_differences_are_put_in_words(expected: Any, got: Any, words: str | None) -> None:
    found = difference(expected, got)
    assert found is None if words is None else found is not None and found.startswith(words)


def test_what_is_shown_stays_short() -> None:
    assert show("x" * 1000).endswith("…") and len(show("x" * 1000)) == 160
    assert show(torch.nn.ModuleDict({"conv": torch.nn.Identity()})) == "ModuleDict(conv)"
