"""The exercise engine: check an answer, name the misconception, give hints, show the solution."""

from __future__ import annotations

import ast
import inspect
import os
import textwrap
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from cnnlab.exercises.comparison import difference, show
from cnnlab.runtime import in_notebook

SEED = 0
NOT_ATTEMPTED = "… not attempted yet"
Cases = Iterable[tuple[Any, ...]]
Mistakes = dict[str, Any]  # diagnosis -> the wrong answer that earns it


class ExerciseError(AssertionError):
    """An answer is wrong or missing. Students see its text, CI (CNNLAB_STRICT=1) the exception."""


class Outcome(NamedTuple):
    """What an answer made of one case."""

    call: str
    output: Any


def not_yet(problem: Any, *details: str | None) -> ExerciseError:
    """Return the error for a wrong answer: the diagnosis, and a line for each detail."""
    return ExerciseError("\n    ".join([f"✗ not yet — {problem}", *filter(None, details)]))


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
        Yields tuples of arguments, the smallest first. It is given a seeded generator; torch's
        global one is seeded too, so that layers may be built with their usual initialization.
    normalize
        Turns (result, *arguments) into what is compared: numbers, strings, tensors, and lists,
        tuples and dicts of them. May raise ExerciseError with a diagnosis of its own.
    takeaway
        Printed with "correct".
    """

    function: Callable[..., Any]
    hints: Sequence[str]
    mistakes: Callable[..., Mistakes]
    cases: Callable[[torch.Generator], Cases] = lambda generator: [()]
    normalize: Callable[..., Any] = lambda result, *inputs: result
    takeaway: str = "your answer agrees with the solution"

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

    def misconceptions(self) -> dict[str, Callable[..., Any]]:
        """Return diagnosis -> the wrong function that earns it."""
        diagnoses = self.mistakes(*self._cases()[0])
        return {each: lambda *inputs, each=each: self.mistakes(*inputs)[each] for each in diagnoses}

    def outcomes(self, answer: Any) -> list[Outcome]:
        """Try ``answer`` on every case; the notebook's own random numbers stay as they are."""
        with torch.random.fork_rng(devices=[]):
            return [self._try(answer, inputs) for inputs in self._cases()]

    def _cases(self) -> list[tuple[Any, ...]]:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(SEED)
            return list(self.cases(torch.Generator().manual_seed(SEED)))

    def _try(self, answer: Any, inputs: tuple[Any, ...]) -> Outcome:
        call = f"{self.name}({', '.join(map(show, inputs))})"  # before the answer changes them
        try:
            result = answer(*inputs) if callable(answer) else answer
        except NotImplementedError as error:
            reason = f" ({error})" if str(error) else ""
            raise ExerciseError(NOT_ATTEMPTED + reason) from error
        except Exception as error:
            raise not_yet(self._crash(error), f"{type(error).__name__}: {error}", call) from error
        if result is None and self.function.__annotations__.get("return", "None") != "None":
            raise not_yet("your function gives None back: is its return missing?", call)
        try:
            return Outcome(call, self.normalize(result, *inputs))
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
        wrong = [
            pair for pair in zip(self._differences(self.function, got), got, strict=True) if pair[0]
        ]
        if not wrong:
            return
        found, (call, output) = wrong[0]
        message = f"{len(wrong)} of {len(got)} examples differ from the solution; the first:"
        if not self.parameters:  # what was expected stays a secret
            message, call, found = "another value is right", f"your answer: {show(output)}", None
        for diagnosis, mistaken in self.misconceptions().items():
            if not any(self._differences(mistaken, got)):
                message = diagnosis
        raise not_yet(message, call, found)

    def _differences(self, answer: Any, got: list[Outcome]) -> list[str | None]:
        """Compare ``got`` with what ``answer`` gives, case by case."""
        return [
            difference(a.output, b.output) for a, b in zip(self.outcomes(answer), got, strict=True)
        ]


def exercise(**declaration: Any) -> Callable[[Callable[..., Any]], Exercise]:
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
    >>> total_stride.check(8)
    ✓ correct — your answer agrees with the solution
    """

    def declare(function: Callable[..., Any]) -> Exercise:
        return Exercise(function, **declaration)

    return declare
