"""The rules: what each operation does to the boxes, one short function for each family.

Windowed operations have theirs in ``_windows``. The keys are the names of the functions as
torch calls them; modules need no rules of their own, because they end in these functions.
What is not listed is not guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.fx.node import map_aggregate

from cnnlab.fields._boxes import Boxes, constant, move, union
from cnnlab.fields._windows import WINDOWS

POINTWISE = {
    "abs", "add", "alpha_dropout", "bool", "celu", "clamp", "clamp_max", "clamp_min", "clip",
    "clone", "contiguous", "cos", "detach", "div", "dropout", "dropout1d", "dropout2d",
    "dropout3d", "elu", "eq", "erf", "exp", "expm1", "feature_alpha_dropout", "feature_dropout",
    "float", "floor", "ge", "gelu", "gt", "half", "hardshrink", "hardsigmoid", "hardswish",
    "hardtanh", "iadd", "idiv", "imul", "isfinite", "isinf", "isnan", "isub", "itruediv", "le",
    "leaky_relu", "log", "log1p", "logical_not", "logsigmoid", "lt", "masked_fill", "maximum",
    "minimum", "mish", "mul", "multiply", "ne", "neg", "negative", "pow", "radd", "rdiv",
    "reciprocal", "relu", "relu6", "rmul", "round", "rpow", "rrelu", "rsqrt", "rsub",
    "rtruediv", "selu", "sigmoid", "sign", "silu", "sin", "softplus", "softshrink", "softsign",
    "sqrt", "square", "sub", "subtract", "tanh", "tanhshrink", "threshold", "true_divide",
    "truediv", "where",
}  # fmt: skip
MOVEMENTS = {
    "channel_shuffle", "chunk", "expand", "flatten", "flip", "getitem", "movedim", "narrow",
    "permute", "pixel_shuffle", "pixel_unshuffle", "ravel", "repeat", "repeat_interleave",
    "reshape", "roll", "select", "split", "squeeze", "swapaxes", "swapdims", "tensor_split",
    "tile", "transpose", "unbind", "unflatten", "unsqueeze", "view",
}  # fmt: skip


def apply(function: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
    """Return the boxes after one operation; KeyError if there is no rule for it."""
    if name in POINTWISE:
        return pointwise(*args, **kwargs)
    if name in MOVEMENTS:
        if any(isinstance(part, Boxes) for part in leaves((args[1:], kwargs))):
            raise KeyError(f"{name} with positions that depend on the image")
        return move(Tensor.reshape if name == "view" else function, *args, **kwargs)
    return RULES[name](*args, **kwargs)


def leaves(value: Any) -> list[Any]:
    """Return all that is in nested arguments."""
    found: list[Any] = []
    map_aggregate(value, found.append)
    return found


def all_boxes(values: Iterable[Any]) -> list[Boxes]:
    """Return boxes as they are, and those of the tensors that do not depend on the image."""
    values = list(values)
    axes = len(next(value.axes for value in values if isinstance(value, Boxes)))
    return [v if isinstance(v, Boxes) else constant(v.shape, axes) for v in values]


def pointwise(*args: Any, **kwargs: Any) -> Boxes:
    """Each element sees what the elements at its place see, broadcast as tensors are."""
    tensors = [part for part in leaves((args, kwargs)) if isinstance(part, Boxes | Tensor)]
    return reduce(union, all_boxes(tensors))


def batch_norm(
    x: Boxes, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, *_: Any, **__: Any,
) -> Boxes:  # fmt: skip
    """With stored statistics an operation on single pixels; else it sees the whole map."""
    dims = {*range(len(x.shape))} - {1}
    return x.hull(dims, "batch statistics") if training else x


def instance_norm(
    x: Boxes, running_mean: Any = None, running_var: Any = None, weight: Any = None,
    bias: Any = None, use_input_stats: bool = True, *_: Any, **__: Any,
) -> Boxes:  # fmt: skip
    """Mean and variance of each channel over the whole map, unless they are stored."""
    return x.hull(range(2, len(x.shape)), "instance statistics") if use_input_stats else x


def group_norm(x: Boxes, num_groups: int, *_: Any, **__: Any) -> Boxes:
    """Mean and variance of a group of channels over the whole map."""
    split = x.each(lambda table: table.unflatten(1, (num_groups, -1)))
    whole = split.hull(range(2, len(split.shape)), "group statistics")
    return whole.each(lambda table: table.flatten(1, 2))


def layer_norm(x: Boxes, normalized_shape: Sequence[int], *_: Any, **__: Any) -> Boxes:
    """Over the last dimensions: only channels in ConvNeXt, positions too in other networks."""
    return x.hull(range(-len(normalized_shape), 0), "layer statistics")


def along(x: Boxes, dim: Any = None, *_: Any, **__: Any) -> Boxes:
    """Softmax and its like: same shape, but every element sees all along a dimension."""
    return x.hull([1 if dim is None else dim], "softmax")


def normalize(x: Boxes, p: float = 2.0, dim: Any = 1, *_: Any, **__: Any) -> Boxes:
    """Division by the norm along a dimension."""
    return x.hull([dim] if isinstance(dim, int) else dim, "norm")


def reduction(x: Boxes, dim: Any = None, keepdim: bool = False, **_: Any) -> Boxes:
    """Mean, sum, variance … over some dimensions or all of them."""
    dims = range(len(x.shape)) if dim is None else [dim] if isinstance(dim, int) else dim
    return x.hull(dims, "a sum over all positions", keep="one" if keepdim else "none")


def spread(
    x: Boxes, dim: Any = None, unbiased: Any = None, keepdim: bool = False, **_: Any
) -> Boxes:
    """Variance or standard deviation."""
    return reduction(x, dim, keepdim)


def extremum(x: Boxes, dim: Any = None, keepdim: bool = False) -> Any:
    """Maximum or minimum: with a dimension, torch returns values and indices."""
    if isinstance(dim, Boxes | Tensor):
        return pointwise(x, dim)
    result = reduction(x, dim, keepdim)
    return result if dim is None else (result, result)


def linear(x: Boxes, weight: Tensor, bias: Any = None) -> Boxes:
    """Every output sees the whole last dimension."""
    features = weight.shape[0]
    whole = x.hull([-1], "a fully connected layer", keep="one")
    return whole.each(lambda table: table.expand(*table.shape[:-1], features))


def matmul(a: Any, b: Any) -> Boxes:
    """Row i of the first times column j of the second."""
    a, b = all_boxes([a, b])
    rows = a.hull([-1], "a matrix product", keep="one")
    return union(rows, b.hull([-2], "a matrix product", keep="one"))


def einsum(equation: str, *operands: Any) -> Boxes:
    """Sums of products; letters that the result lacks are summed over."""
    inputs, output = equation.replace(" ", "").replace("...", "").split("->")
    letters = output + "".join(sorted(set(inputs) - set(output) - {","}))
    terms = []
    for own, x in zip(inputs.split(","), all_boxes(operands), strict=True):
        rest = len(x.shape) - len(own)  # the dimensions that "..." stands for
        order = [rest + own.index(letter) for letter in letters if letter in own]
        places = [slice(None) if letter in own else None for letter in letters]
        x = x.each(partial(Tensor.permute, dims=[*range(rest), *order]))
        terms.append(x.each(itemgetter((..., *places))))
    summed = range(len(output) - len(letters), 0)
    return reduce(union, terms).hull(summed, "a sum of products", keep="none")


def scaled_dot_product_attention(q: Boxes, k: Boxes, v: Boxes, *_: Any, **__: Any) -> Boxes:
    """Scaled dot-product attention: every query looks at every key and value."""
    scores = matmul(q, move(lambda table: table.transpose(-2, -1), k))
    return matmul(along(scores, -1), v)


def multi_head_attention_forward(
    q: Boxes, k: Boxes, v: Boxes, *_: Any, **__: Any
) -> tuple[Boxes, None]:
    """Attention between tokens, (L, N, E); the heads cover all features."""
    keys = union(k, v).hull([0, 2], "attention", keep="one")
    query = q.hull([2], "attention")
    return union(query, keys), None


def cat(tensors: Sequence[Any], dim: int = 0) -> Boxes:
    """Concatenation moves numbers too; constants among them see nothing."""
    parts = all_boxes(tensors)
    return move(concatenated, parts, dim % len(parts[0].shape))


def concatenated(tables: Sequence[Tensor], dim: int) -> Tensor:
    """Concatenate tables, but leave the dimensions expanded that are so in all of them."""
    shared = [d for d in range(tables[0].ndim) if d != dim and not any(t.stride(d) for t in tables)]
    cut = [
        t[tuple(slice(1) if d in shared else slice(None) for d in range(t.ndim))] for t in tables
    ]
    sizes = [tables[0].shape[d] if d in shared else -1 for d in range(tables[0].ndim)]
    return torch.cat(cut, dim).expand(sizes)


def stack(tensors: Sequence[Any], dim: int = 0) -> Boxes:
    """Stacking is concatenation along a new dimension."""
    return cat([move(torch.unsqueeze, part, dim) for part in all_boxes(tensors)], dim)


NAMED_AS_IN_TORCH: list[Any] = [
    batch_norm, cat, einsum, group_norm, instance_norm, layer_norm, linear, matmul,
    multi_head_attention_forward, normalize, scaled_dot_product_attention, stack,
]  # fmt: skip
RULES: dict[str, Callable[..., Any]] = {
    **WINDOWS,
    **{rule.__name__: rule for rule in NAMED_AS_IN_TORCH},
    **dict.fromkeys(["all", "amax", "amin", "any", "mean", "sum"], reduction),
    **dict.fromkeys(["log_softmax", "softmax", "softmin"], along),
    **dict.fromkeys(["max", "min"], extremum),
    **dict.fromkeys(["std", "var"], spread),
    "bmm": matmul,
    "concat": cat,
    "expand_as": lambda x, other: move(Tensor.expand, x, other.shape),
    "glu": lambda x, dim=-1: union(*move(Tensor.chunk, x, 2, dim)),
    "prelu": lambda x, weight: x,  # one slope per channel, whatever the shape of the weight
    "to": lambda x, *_, **__: x,
    "type_as": lambda x, other: x,
    "view_as": lambda x, other: move(Tensor.view, x, other.shape),
}
