"""The exercise engine: check an answer, name the misconception, give hints, show the solution."""

from __future__ import annotations

import ast
import inspect
import os
import textwrap
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from cnnlab.exercises.comparison import Difference, differences, show
from cnnlab.runtime import in_notebook

SEED = 0
NOT_ATTEMPTED = "… not attempted yet"
Cases = Iterable[tuple[Any, ...]]
Mistakes = dict[str, Any]  # diagnosis -> the wrong answer that earns it


class ExerciseError(AssertionError):
    """An answer is wrong or missing. Students see its text, CI (CNNLAB_STRICT=1) the exception."""


def not_yet(problem: Any, *details: str) -> ExerciseError:
    """Return the error for a wrong answer: the diagnosis, and a line for each detail."""
    return ExerciseError("\n    ".join([f"✗ not yet — {problem}", *details]))


class Without(TorchFunctionMode):
    """Inside ``with Without(names)``, torch's functions of these names stop with an error."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = names

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call ``function`` unless it is one of the names."""
        if function.__name__ in self.names:
            raise RuntimeError(f"do it without {function.__name__}: that is the exercise")
        return function(*args, **(kwargs or {}))


@dataclass
class Exercise:
    """One exercise, made from its solution by :func:`exercise`.

    Parameters
    ----------
    function
        The solution; students see its source. Without parameters, the exercise asks for a *value*.
    hints
        Shown one at a time.
    mistakes
        Takes the same arguments and returns a dict, diagnosis -> the wrong answer that earns it:
        an answer that agrees with the wrong one on every case gets that diagnosis.
    cases
        Tuples of arguments, the smallest first; or a function that yields them. It is given a
        seeded generator; torch's global one is seeded too, so that layers may be built with their
        usual initialization.
    normalize
        Turns (result, *arguments) into what is compared: numbers, strings, tensors, and lists,
        tuples and dicts of them. May raise ExerciseError with a diagnosis of its own.
    takeaway
        Printed with "correct".
    without
        Names of torch functions that an answer must not call.
    crashes
        Words of an error -> the diagnosis of an answer that stops with it.
    """

    function: Callable[..., Any]
    hints: Sequence[str]
    mistakes: Callable[..., Mistakes]
    cases: Cases | Callable[[torch.Generator], Cases] = ((),)
    normalize: Callable[..., Any] = lambda result, *inputs: result
    takeaway: str = "your answer agrees with the solution"
    without: Sequence[str] = ()
    crashes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name: str = self.function.__name__
        parameters = inspect.signature(self.function).parameters.values()
        self.parameters = ", ".join(str(p.replace(annotation=p.empty)) for p in parameters)
        self._hints_shown = 0

    def __repr__(self) -> str:
        return f"<exercise {self.name}: .check(answer), .hint(), .solution()>"

    @property
    def reference(self) -> Any:
        """The right answer itself: a function, or the value where a value is asked for."""
        return self.function if self.parameters else self.function()

    def check(self, answer: Any) -> None:
        """Print whether ``answer`` is right, and if not, what went wrong.

        Raises
        ------
        ExerciseError
            Instead of printing, when the environment variable CNNLAB_STRICT is set (and not 0).
        """
        try:
            self._examine(answer)
        except ExerciseError as problem:
            if os.environ.get("CNNLAB_STRICT", "0") not in ("", "0"):
                raise
            print(problem)
        else:
            print(f"✓ correct — {self.takeaway}")

    def hint(self) -> None:
        """Print the next hint."""
        if self._hints_shown == len(self.hints):
            print(f"No more hints. The way out: ex.{self.name}.solution()")
            return
        self._hints_shown += 1
        print(f"Hint {self._hints_shown} of {len(self.hints)}: {self.hints[self._hints_shown - 1]}")

    def solution(self) -> None:
        """Show the solution's source: folded and highlighted in a notebook, plain in a terminal."""
        if in_notebook():
            from IPython.display import HTML, Code, display

            code = Code(self.source(), language="python")._repr_html_()
            display(HTML(f"<details><summary>Show the solution</summary>{code}</details>"))
        else:
            print(self.source(), end="")

    def source(self) -> str:
        """Return the solution as a student could paste it into the stub cell."""
        lines = textwrap.dedent(inspect.getsource(self.function)).splitlines(keepends=True)
        tree = ast.parse("".join(lines)).body[0]
        assert isinstance(tree, ast.FunctionDef)
        if self.parameters:
            return "".join(lines[tree.lineno - 1 :])  # from "def" on: without the decorator
        first = tree.body[0 if ast.get_docstring(tree) is None else 1]
        body = textwrap.dedent("".join(lines[first.lineno - 1 :]))
        return f"{self.name} = ".join(body.rsplit("return ", 1))

    def misconceptions(self) -> dict[str, list[Any]]:
        """Return diagnosis -> the wrong answers that earn it, one for each case."""
        found: dict[str, list[Any]] = {}
        for inputs in self._cases():
            for diagnosis, wrong in self.mistakes(*inputs).items():
                found.setdefault(diagnosis, []).append(self.normalize(wrong, *inputs))
        return found

    def outcomes(self, answer: Any) -> list[Any]:
        """Try ``answer`` on every case; the notebook's own random numbers stay as they are."""
        with torch.random.fork_rng(devices=[]):
            return [self._try(answer, inputs) for inputs in self._cases()]

    def _cases(self) -> list[tuple[Any, ...]]:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(SEED)
            generator = torch.Generator().manual_seed(SEED)
            return list(self.cases(generator) if callable(self.cases) else self.cases)

    def _call(self, inputs: tuple[Any, ...]) -> str:
        return f"{self.name}({', '.join(map(show, inputs))})"

    def _try(self, answer: Any, inputs: tuple[Any, ...]) -> Any:
        call = self._call(inputs)  # before the answer changes them
        try:
            with Without(self.without):
                result = answer(*inputs) if callable(answer) else answer
        except NotImplementedError as error:
            reason = f" ({error})" if str(error) else ""
            raise ExerciseError(NOT_ATTEMPTED + reason) from error
        except Exception as error:
            known = [says for words, says in self.crashes.items() if words in str(error)]
            problem = known[0] if known else self._crash(error)
            raise not_yet(problem, f"{type(error).__name__}: {error}", call) from error
        if result is None and self.function.__annotations__.get("return", "None") != "None":
            raise not_yet("your function returns None: is its return missing?", call)
        try:
            return self.normalize(result, *inputs)
        except ExerciseError as error:
            raise not_yet(error, call) from error
        except Exception as error:
            raise not_yet(f"this cannot be the answer: {show(result)}", call) from error

    def _crash(self, error: Exception) -> str:
        """Say which line of the student's code raised the error."""
        frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is the engine's own
        if not frames and isinstance(error, TypeError):
            return f"your function must begin with `def {self.name}({self.parameters})`"
        own = [frame for frame in frames if frame.filename == frames[0].filename]
        where = f" in line {own[-1].lineno}: `{own[-1].line}`" if own else ""
        return f"your function stopped with an error{where}"

    def _examine(self, answer: Any) -> None:
        """Raise ExerciseError with the diagnosis unless the answer is right."""
        if answer is None or answer is Ellipsis:
            raise ExerciseError(NOT_ATTEMPTED)
        if callable(answer) != bool(self.parameters):
            kind = "the function itself, not its result" if self.parameters else "a value"
            raise not_yet(f"{self.name} must be {kind}; this is {show(answer)}")
        got = self.outcomes(answer)
        places = compare(self.outcomes(self.function), got)
        wrong = [example for example, found in enumerate(places) if found]
        if not wrong:
            return
        problem = f"{len(wrong)} of {len(got)} examples differ from the solution; the first:"
        first, *others = places[wrong[0]]
        count = f" (one of {1 + len(others)} differences)" if others else ""
        details = [self._call(self._cases()[wrong[0]]), f"{first}{count}"]
        if not self.parameters:  # what was expected stays a secret
            problem, details = first.without_answer(), [f"your answer: {show(answer)}"]
        for diagnosis, mistaken in self.misconceptions().items():
            if not any(compare(mistaken, got)):
                problem = diagnosis
        raise not_yet(problem, *details)


def compare(expected: list[Any], got: list[Any]) -> list[list[Difference]]:
    """Return, for each example, where the two results differ."""
    return [list(differences(a, b)) for a, b in zip(expected, got, strict=True)]


def matrix(result: Any, *_: Any) -> torch.Tensor:
    """Take rows of numbers, of whole numbers or floats, with or without outer brackets.

    Examples
    --------
    >>> matrix([[[1, 2], [3, 4]]]).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    problem = ExerciseError("write the answer as rows of numbers: [[…, …], […, …]]")
    try:
        rows = torch.as_tensor(result, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # strings, rows of different lengths
        raise problem from error
    if rows.ndim < 2 or set(rows.shape[:-2]) - {1}:
        raise problem
    return rows.reshape(rows.shape[-2:])


def exercise(**declaration: Any) -> Callable[..., Exercise]:
    """Turn the solution below it into an :class:`Exercise`; the arguments are its other fields.

    Examples
    --------
    >>> def mistaken_strides():
    ...     return {"strides multiply, not add": 2 + 2 + 2}
    >>> @exercise(hints=["Think of one step at the output."], mistakes=mistaken_strides)
    ... def total_stride():
    ...     return 2 * 2 * 2
    >>> total_stride.check(6)
    ✗ not yet — strides multiply, not add
        your answer: 6
    >>> total_stride.check(9)
    ✗ not yet — 9 is too large
        your answer: 9
    >>> total_stride.check(8)
    ✓ correct — your answer agrees with the solution
    """

    return partial(Exercise, **declaration)
