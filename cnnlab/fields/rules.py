"""The rules: what each operation does to the boxes, one short function a family.

Windowed operations have theirs in ``field_windows``. The keys are the names of the functions as
torch calls them; modules need no rules of their own, because they end in these functions.
What is not listed is not guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.node import map_aggregate

from cnnlab.fields.boxes import Boxes, constant, joined, moved
from cnnlab.fields.windows import WINDOWS

__all__ = ["MOVEMENTS", "POINTWISE", "RULES", "apply"]

POINTWISE = """
    abs add alpha_dropout bool celu clamp clamp_max clamp_min clip clone contiguous cos detach div
    dropout dropout2d elu eq erf exp expm1 feature_alpha_dropout feature_dropout float floor ge
    gelu gt half hardsigmoid hardshrink hardswish hardtanh iadd idiv imul isub itruediv le
    leaky_relu log log1p logsigmoid lt masked_fill maximum minimum mish mul multiply ne neg
    negative pow radd rdiv reciprocal relu relu6 rmul round rpow rrelu rsqrt rsub rtruediv selu
    sigmoid sign silu sin softplus softshrink softsign sqrt square sub subtract
    tanh tanhshrink threshold true_divide truediv where
"""
MOVEMENTS = """
    channel_shuffle chunk expand flatten flip getitem movedim narrow permute pixel_shuffle
    pixel_unshuffle ravel repeat repeat_interleave reshape roll select split squeeze swapaxes
    swapdims tensor_split tile transpose unbind unflatten unsqueeze view
"""


def apply(function: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
    """Return the boxes after one operation; KeyError if there is no rule for it."""
    if name in POINTWISE.split():
        return pointwise(*args, **kwargs)
    if name in MOVEMENTS.split():
        if any_boxes((args[1:], kwargs)):
            raise KeyError(f"{name} with positions that depend on the picture")
        return moved(Tensor.reshape if name == "view" else function, *args, **kwargs)
    return RULES[name](*args, **kwargs)


def any_boxes(value: Any) -> bool:
    """Return whether there are boxes anywhere in nested arguments."""
    found: list[Boxes] = []
    map_aggregate(value, lambda v: found.append(v) if isinstance(v, Boxes) else None)
    return bool(found)


def pointwise(*args: Any, **kwargs: Any) -> Boxes:
    """Each element sees what the elements at its place see, broadcast as tensors are."""
    found: list[Boxes] = []

    def collect(value: Any) -> None:
        if isinstance(value, Boxes):
            found.append(value)
        elif isinstance(value, Tensor):
            found.append(constant(value.shape))

    map_aggregate((args, kwargs), collect)
    result = found[0]
    for other in found[1:]:
        result = joined(result, other)
    return result


def batch_norm(
    x: Boxes,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    *_: Any,
    **__: Any,
) -> Boxes:
    """With stored statistics an operation on single pixels; else it sees the whole map."""
    return x.hulled([0, 2, 3], "batch statistics") if training else x


def instance_norm(
    x: Boxes,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    *_: Any,
    **__: Any,
) -> Boxes:
    """Mean and variance of each channel over the whole map, unless they are stored."""
    return x.hulled([2, 3], "instance statistics") if use_input_stats else x


def group_norm(x: Boxes, num_groups: int, *_: Any, **__: Any) -> Boxes:
    """Mean and variance of a group of channels over the whole map."""
    split = x.each(lambda table: table.unflatten(1, (num_groups, -1)))
    whole = split.hulled([2, 3, 4], "group statistics")
    return whole.each(lambda table: table.flatten(1, 2))


def layer_norm(x: Boxes, normalized_shape: Sequence[int], *_: Any, **__: Any) -> Boxes:
    """Over the last dimensions: only channels in ConvNeXt, positions too in other networks."""
    return x.hulled(range(-len(normalized_shape), 0), "layer statistics")


def along(x: Boxes, dim: Any = None, *_: Any, **__: Any) -> Boxes:
    """Softmax and its like: same shape, but every element sees all along a dimension."""
    return x.hulled([1 if dim is None else dim], "softmax")


def normalize(x: Boxes, p: float = 2.0, dim: Any = 1, *_: Any, **__: Any) -> Boxes:
    """Division by the norm along a dimension."""
    return x.hulled([dim] if isinstance(dim, int) else dim, "norm")


def reduction(x: Boxes, dim: Any = None, keepdim: bool = False, **_: Any) -> Boxes:
    """Mean, sum, variance … over some dimensions or all of them."""
    dims = range(len(x.shape)) if dim is None else [dim] if isinstance(dim, int) else dim
    return x.hulled(dims, "a sum over all positions", keep="one" if keepdim else "none")


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
    whole = x.hulled([-1], "a fully connected layer", keep="one")
    return whole.each(lambda table: table.expand(*table.shape[:-1], features))


def matmul(a: Any, b: Any) -> Boxes:
    """Row i of the first times column j of the second."""
    a, b = (v if isinstance(v, Boxes) else constant(v.shape) for v in (a, b))
    rows = a.hulled([-1], "a matrix product", keep="one")
    return joined(rows, b.hulled([-2], "a matrix product", keep="one"))


def einsum(equation: str, *operands: Any) -> Boxes:
    """Sums of products; letters that the result lacks are summed over."""
    inputs, output = equation.replace(" ", "").replace("...", "").split("->")
    terms = []
    for letters, operand in zip(inputs.split(","), operands, strict=True):
        x = operand if isinstance(operand, Boxes) else constant(operand.shape)
        rest = len(x.shape) - len(letters)  # the dimensions that "..." stands for
        summed = [rest + i for i, letter in enumerate(letters) if letter not in output]
        x = x.hulled(summed, "a sum of products", keep="none") if summed else x
        kept = [letter for letter in letters if letter in output]
        order = [rest + kept.index(letter) for letter in output if letter in kept]
        missing = [i for i, letter in enumerate(output) if letter not in kept]

        def placed(table: Tensor, rest: int = rest, order: Any = order, gaps: Any = missing) -> Any:
            table = table.permute(*range(rest), *order)
            for gap in gaps:
                table = table.unsqueeze(rest + gap)
            return table

        terms.append(x.each(placed))
    return pointwise(*terms)


def attention(q: Boxes, k: Boxes, v: Boxes, *_: Any, **__: Any) -> Boxes:
    """Scaled dot-product attention: every query looks at every key and value."""
    scores = matmul(q, moved(lambda table: table.transpose(-2, -1), k))
    return matmul(along(scores, -1), v)


def multi_head_attention(q: Boxes, k: Boxes, v: Boxes, *_: Any, **__: Any) -> tuple[Boxes, None]:
    """Attention between tokens, (L, N, E); the heads cover all features."""
    keys = joined(k, v).hulled([0, 2], "attention", keep="one")
    query = q.hulled([2], "attention")
    return joined(query, keys), None


def cat(tensors: Sequence[Any], dim: int = 0) -> Boxes:
    """Concatenation moves numbers too; constants among them see nothing."""
    parts = [constant(v.shape) if isinstance(v, Tensor) else v for v in tensors]
    return moved(concatenated, parts, dim % len(parts[0].shape))


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
    parts = [constant(v.shape) if isinstance(v, Tensor) else v for v in tensors]
    return cat([moved(torch.unsqueeze, part, dim) for part in parts], dim)


RULES: dict[str, Callable[..., Any]] = {
    **WINDOWS,
    "amax": reduction,
    "amin": reduction,
    "batch_norm": batch_norm,
    "cat": cat,
    "concat": cat,
    "einsum": einsum,
    "expand_as": lambda x, other: moved(Tensor.expand, x, other.shape),
    "glu": lambda x, dim=-1: joined(*moved(Tensor.chunk, x, 2, dim)),
    "group_norm": group_norm,
    "instance_norm": instance_norm,
    "layer_norm": layer_norm,
    "linear": linear,
    "log_softmax": along,
    "matmul": matmul,
    "bmm": matmul,
    "max": extremum,
    "mean": reduction,
    "min": extremum,
    "multi_head_attention_forward": multi_head_attention,
    "normalize": normalize,
    "prelu": lambda x, weight: x,  # one slope a channel, whatever the shape of the weight
    "scaled_dot_product_attention": attention,
    "softmax": along,
    "softmin": along,
    "stack": stack,
    "std": spread,
    "sum": reduction,
    "to": lambda x, *_, **__: x,
    "type_as": lambda x, other: x,
    "var": spread,
    "view_as": lambda x, other: moved(Tensor.view, x, other.shape),
}
