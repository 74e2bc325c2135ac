"""Solutions are right by another's word, and every way to spoil one of them is noticed.

A spoiled solution differs from the real one in one place: an operator, a constant, a dropped term,
a swapped name, a missing statement. It must fail before its judge *and* be refused by ``check``.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from judges import EXERCISES, JUDGES

from cnnlab.exercises.engine import Exercise, ExerciseError

OPERATORS = {
    ast.Add: [ast.Sub, ast.Mult], ast.Sub: [ast.Add], ast.Mult: [ast.Div, ast.Add],
    ast.Div: [ast.Mult, ast.FloorDiv], ast.FloorDiv: [ast.Mod, ast.Mult, ast.Div],
    ast.Mod: [ast.FloorDiv, ast.Mult, ast.Add, ast.Sub], ast.Pow: [ast.Mult],
    ast.BitAnd: [ast.BitOr], ast.And: [ast.Or],
    ast.LtE: [ast.Lt, ast.GtE], ast.GtE: [ast.Gt, ast.LtE],
    ast.Eq: [ast.NotEq, ast.Lt, ast.Gt, ast.LtE, ast.GtE],
    ast.IsNot: [ast.Is],
}  # fmt: skip
SWAPS = [
    {"max", "min"}, {"argmax", "argmin"}, {"any", "all"}, {"mean", "sum"}, {"std", "var"},
    {"rows", "columns"}, {"height", "width"}, {"row", "column"}, {"backbone", "head"},
    {"direct", "bottleneck"}, {"gmacs", "parameters"}, {"weight", "bias"}, {"train", "eval"},
]  # fmt: skip
EQUIVALENT = {  # other ways to write the same
    "convolution.by_hand": {  # the kernel's lower left number is 0
        "x = torch.tensor([[1, 0, 2], [3, 1, 0], [(1), 2, 1]])",
        "x = torch.tensor([[1, 0, 2], [3, 1, 0], [(-1), 2, 1]])",
        # a window may reach over the lower and the right edge
        "output[row, column] = (x[row : (row * 2 + 2), column : column + 2] * kernel).sum()",
        "output[row, column] = (x[row : row + 2, column : (column * 2 + 2)] * kernel).sum()",
    },
    "convolution.same_padding": {"return (dilation * (kernel - 1) / 2)"},
    "datasets.channel_statistics": {"x = (train_images) / 255  # (N, C, H, W)"},
    "architectures.layer_parameters": {
        "weights_of_one_kernel = (kernel * kernel * in_channels / groups)"
    },
    "upsampling.dice": {
        "both = ((prediction + 2 & target)).sum().item()",  # the last bit stays as it is
        "both = ((prediction & target + 2)).sum().item()",
        "both = ((prediction & target).sum())",
        "sizes = (prediction.sum()) + target.sum().item()",
        "sizes = prediction.sum().item() + (target.sum())",
    },
    "transfer.freeze_for_good": {
        "(model.get_submodule(name).requires_grad_())",
        "if isinstance(layer, torch.nn.BatchNorm2d) and not (layer.bias).requires_grad:",
    },
    "fields.field_by_hand": {
        "second = first + (3)",
        "second = first + ((1)) * 3",
        "third = second + (2 + (3 - 1)) * (3 * 2)",
    },
    "transposed.by_zero_insertion": {  # the kernel is square
        "border = kernel.shape[-(2)] - 1 - padding",
        "stretched = (kernel).new_zeros(batch, channels, (height - 1) * stride + 1, "
        "(width - 1) * stride + 1)",
    },
    "day.encoder_sides": {"return [(padded / 2 ** level) for level in range(depth + 1)]"},
    "filters.wave_angle": {
        "energy = torch.fft.fft2((kernel.mean() - kernel)).abs()",
        "return (torch.rad2deg(torch.atan2(frequency[row], frequency[column])) % 180)",
    },
    "ants_and_bees.majority_baseline": {"return ((test_labels == majority).float().mean())"},
}
every_exercise = pytest.mark.parametrize("name", EXERCISES)


def alternatives(node: ast.AST, swaps: list[set[str]], strings: set[str]) -> Iterator[ast.AST]:
    """Yield what may stand in the place of a node."""
    for field, old in ast.iter_fields(node):
        operator = old[0] if field == "ops" else old
        for kind in OPERATORS.get(type(operator), []):
            yield altered(node, field, [kind()] if field == "ops" else kind())
        if field in ("elts", "args", "keywords", "ifs", "values") and isinstance(old, list):
            for i in range(len(old)):  # one item, argument or condition less
                yield altered(node, field, old[:i] + old[i + 1 :])
    for side in ("left", "right"):  # x - y becomes x + 2 - y
        if isinstance(operand := getattr(node, side, None), ast.Name | ast.UnaryOp):
            for other in with_two(operand):
                yield altered(node, side, other)
    match node:
        case ast.BinOp():
            yield from (node.left, node.right)
            if not isinstance(node.op, ast.Add | ast.Mult | ast.BitAnd):
                yield ast.BinOp(node.right, node.op, node.left)
        case ast.UnaryOp():
            yield node.operand
        case ast.IfExp():
            yield from (node.body, node.orelse)
        case ast.Call(func=ast.Attribute(value=value)):
            yield value  # x.relu() becomes x
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield from (ast.Constant(value + 1), ast.Constant(value - 1))
        case ast.Constant(value=float(value)):
            yield ast.Constant(2 * value + 1)
        case ast.Constant(value=str(value)) if value in strings:
            without_a_letter = {value[:i] + value[i + 1 :] for i in range(len(value))}
            yield from (ast.Constant(text) for text in (strings | without_a_letter) - {value})
        case ast.Return(value=ast.expr() as value):
            yield from map(ast.Return, with_two(value))
        case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name):
            for other in sorted({x for names in swaps if name in names for x in names} - {name}):
                yield altered(node, "id" if isinstance(node, ast.Name) else "attr", other)
        case ast.Expr(value=ast.Call()) | ast.For() | ast.If():
            yield ast.Pass()


def with_two(node: ast.expr) -> Iterator[ast.expr]:
    for operator in (ast.Add(), ast.Sub(), ast.Mult(), ast.FloorDiv()):
        yield ast.BinOp(node, operator, ast.Constant(2))


def altered(node: ast.AST, field: str, value: Any) -> ast.AST:
    other = copy.copy(node)
    setattr(other, field, value)
    return other


def spoiled(source: str) -> Iterator[str]:
    """Yield the programs that differ from ``source`` in one place."""
    tree = ast.parse(source)
    types = [
        getattr(node, name, None) for node in ast.walk(tree) for name in ("annotation", "returns")
    ]
    annotations = {node for kind in types if kind for node in ast.walk(kind)}
    nodes = [node for node in ast.walk(tree) if hasattr(node, "lineno") and node not in annotations]
    arguments = {node.arg for node in nodes if isinstance(node, ast.arg)}
    docstrings = {node.value for node in nodes if isinstance(node, ast.Expr)}
    texts = {
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node not in docstrings
    }
    lines = source.encode().splitlines(keepends=True)  # offsets count bytes
    for node in nodes:
        start = len(b"".join(lines[: node.lineno - 1])) + node.col_offset
        end = len(b"".join(lines[: node.end_lineno - 1])) + node.end_col_offset
        before, after = source.encode()[:start].decode(), source.encode()[end:].decode()
        for other in alternatives(node, [*SWAPS, arguments], texts):
            text = ast.unparse(ast.fix_missing_locations(other))
            yield before + (text if isinstance(other, ast.stmt) else f"({text})") + after


def run(task: Exercise, source: str) -> Any:
    """Return what a notebook cell with this source would define."""
    notebook = {"torch": torch}
    exec(compile(source, "<cell>", "exec"), notebook)
    return notebook[task.name]


def judged_right(name: str, answer: Any) -> bool:
    try:
        JUDGES[name](answer)
    except Exception:
        return False
    return True


def accepted(task: Exercise, answer: Any) -> bool:
    try:
        task.check(answer)
    except ExerciseError:
        return False
    return True


def test_every_exercise_has_its_judge() -> None:
    assert JUDGES.keys() == EXERCISES.keys()


@every_exercise
def test_the_solution_is_right(name: str) -> None:
    JUDGES[name](run(EXERCISES[name], EXERCISES[name].source()))


@every_exercise
def test_a_spoiled_solution_is_refused_by_judge_and_check(name: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("CNNLAB_STRICT", "1")
    task, refused, passed = EXERCISES[name], set(), {}
    for source in set(spoiled(task.source())):
        try:
            answer = run(task, source)
        except Exception:  # not even a program, or not even a value
            continue
        verdicts = judged_right(name, answer), accepted(task, answer)
        if any(verdicts):
            ours, theirs = source.splitlines(), task.source().splitlines()
            (place,) = {a.strip() for a, b in zip(ours, theirs, strict=False) if a != b}
            passed[place] = verdicts
        else:
            refused.add(source)
    assert passed.keys() == EQUIVALENT.get(name, set()), passed
    assert len(refused) >= (20 if callable(answer) else 4)
