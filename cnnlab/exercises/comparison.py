"""Where and how an answer differs from what was expected, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

RELATIVE_TOLERANCE = 1e-4  # float32, summed in any order
ABSOLUTE_TOLERANCE = 1e-5
SHOWN_VALUES = 16  # a tensor up to this size is printed whole
SHOWN_CHARACTERS = 160


def show(value: Any) -> str:
    """Print a value on one short line; a large tensor as its shape, a model by its layers' names.

    Examples
    --------
    >>> show(torch.tensor([[1, 2], [3, 4]])), show(torch.zeros(8, 3, 64, 64)), show((1 / 3, 2))
    ('tensor([[1, 2], [3, 4]])', 'a tensor of shape (8, 3, 64, 64)', '(0.333333, 2)')
    """
    if isinstance(value, Tensor):
        if value.numel() > SHOWN_VALUES:
            return f"a tensor of shape {tuple(value.shape)}"
        return f"tensor({show(value.tolist())})"
    if isinstance(value, torch.nn.Module):
        return f"{type(value).__name__}({', '.join(name for name, _ in value.named_children())})"
    if isinstance(value, Mapping) and not isinstance(value, dict):
        return f"{type(value).__name__}({', '.join(value)})"
    if isinstance(value, float):
        return f"{value:.6g}"
    if type(value) in (list, tuple):
        items = ", ".join(map(show, value))
        text = f"[{items}]" if isinstance(value, list) else f"({items})"
    else:
        text = " ".join(repr(value).split())
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


class Nothing:
    """What stands in a result where a value is missing."""

    def __repr__(self) -> str:
        return "nothing"


class Difference(NamedTuple):
    """Two values that differ, and their place in the results, as Python would index it."""

    place: str
    expected: Any
    got: Any

    def __str__(self) -> str:
        return f"{self._where()}expected {show(self.expected)}, got {show(self.got)}"

    def without_answer(self) -> str:
        """Say what is wrong, but not what would be right."""
        if isinstance(self.got, Nothing):
            return f"{self._where()}a value is missing"
        fault = "wrong"
        if isinstance(self.expected, Real) and isinstance(self.got, Real):
            if self.got > self.expected:
                fault = "too large"
            elif self.got < self.expected:
                fault = "too small"
        return f"{self._where()}{show(self.got)} is {fault}"

    def _where(self) -> str:
        return f"at {self.place}: " if self.place else ""


def differences(expected: Any, got: Any, place: str = "") -> Iterator[Difference]:
    """Yield every place where two results differ; nothing when they agree.

    Lists, tuples, arrays and tensors of the same numbers agree, whatever their precision, and an
    array of one number agrees with the number. Whole numbers must agree exactly.

    Parameters
    ----------
    expected, got
        Numbers, strings, tensors, and lists, tuples and dicts of them.
    place : str
        Where these two stand in a larger result.

    Examples
    --------
    >>> list(differences((0.25, 1), torch.tensor([0.25, 1])))
    []
    >>> for found in differences({"fc": [4, 0.1]}, {"fc": [4, 0.01]}):
    ...     print(found, "|", found.without_answer())
    at ['fc'][1]: expected 0.1, got 0.01 | at ['fc'][1]: 0.01 is too small
    """
    if isinstance(expected, Tensor) and expected.shape != _shape(got):
        yield Difference(place, expected.shape, _shape(got))
        return
    if isinstance(expected, Real) and hasattr(got, "item") and math.prod(got.shape) == 1:
        got = got.item()
    a, b = _plain(expected), _plain(got)
    if isinstance(a, list) and isinstance(b, list):
        a, b = dict(enumerate(a)), dict(enumerate(b))
    if isinstance(a, dict) and isinstance(b, dict):
        for key in {**a, **b}:
            values = a.get(key, Nothing()), b.get(key, Nothing())
            yield from differences(*values, f"{place}[{key!r}]")
    elif not _agree(a, b):
        yield Difference(place, expected, got)


def _agree(expected: Any, got: Any) -> bool:
    if isinstance(expected, float) and isinstance(got, Real):
        return math.isclose(expected, got, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)
    return bool(expected == got)


def _shape(value: Any) -> Any:
    """Return the shape of a tensor, an array or nested lists; ragged lists as they are."""
    try:
        return torch.Size(np.shape(value))
    except ValueError:
        return value


def _plain(value: Any) -> Any:
    """Return tensors, arrays and tuples as lists."""
    if isinstance(value, Tensor | np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value
