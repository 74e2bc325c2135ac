"""How an answer differs from what was expected, in words."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor

RELATIVE_TOLERANCE = 1e-5
ABSOLUTE_TOLERANCE = 1e-8
SHOWN_VALUES = 16  # a tensor up to this size is printed whole
SHOWN_CHARACTERS = 160
KINDS: tuple[Any, ...] = (bool, Real, Tensor, dict, (list, tuple))  # alike: may stand for another


def show(value: Any) -> str:
    """Print a value on one short line; a large tensor as its shape, a model by its layers' names.

    Examples
    --------
    >>> show(torch.tensor([[1, 2], [3, 4]])), show(torch.zeros(8, 3, 64, 64)), show((1 / 3, 2))
    ('tensor([[1, 2], [3, 4]])', 'a tensor of shape (8, 3, 64, 64)', '(0.333333, 2)')
    """
    if isinstance(value, Tensor):
        small = value.numel() <= SHOWN_VALUES
        return f"tensor({show(value.tolist())})" if small else f"a tensor of shape {_shape(value)}"
    if isinstance(value, torch.nn.Module):
        return f"{type(value).__name__}({', '.join(name for name, _ in value.named_children())})"
    if isinstance(value, float):
        return f"{value:.6g}"
    if type(value) in (list, tuple):
        items = ", ".join(map(show, value))
        text = f"[{items}]" if isinstance(value, list) else f"({items})"
    else:
        text = " ".join(repr(value).split())
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"


def difference(expected: Any, got: Any) -> str | None:
    """Say how two results differ; None when they agree. Whole numbers must agree exactly.

    A list may stand for a tuple; a tensor without dimensions counts as a number.

    Examples
    --------
    >>> difference((0.25, 1), [0.25, 1]) is None
    True
    >>> difference({"fc": 0.1}, {"fc": 0.01})
    "at 'fc': expected 0.1, got 0.01"
    """
    expected, got = (x.item() if getattr(x, "ndim", None) == 0 else x for x in (expected, got))
    kind = next((kind for kind in KINDS if isinstance(expected, kind)), type(expected))
    if not isinstance(got, kind):
        return f"expected {show(expected)}, got {show(got)}, a {type(got).__name__}"
    if isinstance(expected, Tensor):
        return _tensor_difference(expected, got)
    if isinstance(expected, (dict, list, tuple)):
        return _item_difference(expected, got)
    agree = bool(expected == got)
    if isinstance(expected, float) and not agree:
        agree = math.isclose(expected, got, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)
    return None if agree else f"expected {show(expected)}, got {show(got)}"


def _item_difference(expected: Any, got: Any) -> str | None:
    """Compare dicts by key, lists and tuples by position."""
    a, b = (x if isinstance(x, dict) else dict(enumerate(x)) for x in (expected, got))
    for key in {**a, **b}:
        if key not in b:
            return f"{key!r} is missing"
        if key not in a:
            return f"{key!r} should not be there"
        found = difference(a[key], b[key])
        if found:
            return f"at {key!r}: {found}"
    return None


def _tensor_difference(expected: Tensor, got: Tensor) -> str | None:
    """Compare shape, then values, then dtype: the order in which a student repairs them."""
    if _shape(expected) != _shape(got):
        return f"expected shape {_shape(expected)}, got shape {_shape(got)}"
    a, b = (x.detach().cpu().double() for x in (expected, got))
    inexact = expected.is_floating_point()
    rtol, atol = (RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE) if inexact else (0.0, 0.0)
    wrong = ~torch.isclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
    if not wrong.any():
        same = expected.dtype == got.dtype
        return None if same else f"right values, but expected {expected.dtype}, got {got.dtype}"
    if a.numel() <= SHOWN_VALUES:
        return f"expected {show(expected)}, got {show(got)}"
    place = tuple(wrong.nonzero()[0].tolist())
    first = f"at {list(place)} expected {show(a[place].item())}, got {show(b[place].item())}"
    return f"{int(wrong.sum())} of {a.numel()} values are wrong: {first}"


def _shape(value: Tensor) -> tuple[int, ...]:
    return tuple(value.shape)
