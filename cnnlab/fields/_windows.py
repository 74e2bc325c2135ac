"""The rules of the windowed operations: convolution, pooling, upsampling, padding.

Each has the signature of the torch functions of that name (``conv`` of ``conv1d``, ``conv2d`` and
``conv3d``), with boxes in place of numbers; ``n`` is the number of dimensions that a window has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from math import floor
from typing import Any

from torch import Tensor

from cnnlab.fields._boxes import Boxes, union
from cnnlab.fields._taps import Taps, adaptive, convolution, padded, resampled, transposed


def each(value: Any, n: int) -> list[Any]:
    """Return the n numbers of an argument that may be one number for all axes."""
    values = list(value) if isinstance(value, Sequence) and len(value) else [value]
    return values if len(values) == n else values * n


def on_map(x: Boxes, n: int, operation: Callable[..., Taps], *arguments: Any) -> Boxes:
    """Apply one windowed operation to the last n dimensions; an argument is one number or n."""
    for axis, numbers in enumerate(zip(*(each(a, n) for a in arguments), strict=True)):
        x = x.window(axis - n, operation(x.shape[axis - n], *numbers))
    return x


def conv(
    x: Boxes, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Boxes:  # fmt: skip
    """Convolution; "same" puts the odd pixel of padding behind, as torch does."""
    kernel, n = list(weight.shape[2:]), weight.ndim - 2
    if padding == "same":
        spans = [d * (k - 1) for d, k in zip(each(dilation, n), kernel, strict=True)]
        padding = [(span // 2, span - span // 2) for span in spans]
    else:
        padding = [(p, p) for p in each(0 if padding == "valid" else padding, n)]
    x = on_map(x, n, convolution, kernel, stride, padding, dilation)
    return x.mix_channels(groups, weight.shape[0])


def conv_transpose(
    x: Boxes, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Boxes:  # fmt: skip
    """Transposed convolution: the input positions that write to an output position."""
    kernel, n = list(weight.shape[2:]), weight.ndim - 2
    x = on_map(x, n, transposed, kernel, stride, padding, output_padding, dilation)
    return x.mix_channels(groups, weight.shape[1] * groups)


def max_pool(
    n: int, x: Boxes, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Maximum pooling; the indices depend on the whole window too."""
    padding = [(p, p) for p in each(padding, n)]
    stride = kernel_size if stride is None or stride == [] else stride
    x = on_map(x, n, convolution, kernel_size, stride, padding, dilation, ceil_mode)
    return (x, x) if return_indices else x


def avg_pool(
    n: int, x: Boxes, kernel_size: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, *_: Any, **__: Any,
) -> Boxes:  # fmt: skip
    """Average pooling."""
    return max_pool(n, x, kernel_size, stride, padding, 1, ceil_mode)


def lp_pool(
    n: int, x: Boxes, norm_type: float, kernel_size: Any, stride: Any = None,
    ceil_mode: bool = False,
) -> Boxes:  # fmt: skip
    """Pooling by a power mean."""
    return max_pool(n, x, kernel_size, stride, 0, 1, ceil_mode)


def adaptive_pool(n: int, x: Boxes, output_size: Any, return_indices: bool = False) -> Any:
    """Pooling to a given size; to a single position it is global pooling."""
    sizes = [size or x.shape[i - n] for i, size in enumerate(each(output_size, n))]
    x = on_map(x, n, adaptive, sizes)
    if set(sizes) == {1}:
        x = Boxes(x.sides, x.sites, [None] * len(x.axes), x.reason or "global pooling")
    return (x, x) if return_indices else x


def max_unpool(
    n: int, x: Boxes, indices: Boxes, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Boxes:  # fmt: skip
    """Max unpooling: a value may come back anywhere in the window that it was taken from."""
    x = union(x, indices)

    def unpooling(length: int, kernel: int, stride: int, padding: int, side: int | None) -> Taps:
        taps = transposed(length, kernel, stride, padding)
        return Taps(side or taps.length, taps.step, taps.of)

    sides = None if output_size is None else list(output_size)[-n:]
    steps = kernel_size if stride is None else stride
    return on_map(x, n, unpooling, kernel_size, steps, padding, sides)


def interpolate(
    x: Boxes, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Boxes:  # fmt: skip
    """Resampling to a size or by a factor."""
    kind, n = mode.removeprefix("bi").removeprefix("tri"), len(x.shape) - 2
    if antialias or kind not in ("nearest", "nearest-exact", "linear", "cubic", "area"):
        raise KeyError(f"interpolate with mode={mode!r}, antialias={antialias}")
    # 1.3 is meant as 13/10, not as the nearest binary number
    factors = [Fraction(str(factor)) for factor in each(scale_factor or 1, n)]
    sizes = each(size, n)
    if size is None:
        sizes = [floor(x.shape[axis - n] * factor) for axis, factor in enumerate(factors)]
    if kind == "area":
        return adaptive_pool(n, x, sizes)
    for axis, outputs in enumerate(sizes):
        length = x.shape[axis - n]
        by_size = size is not None or recompute_scale_factor
        step = Fraction(length, outputs) if by_size else 1 / factors[axis]
        x = x.window(axis - n, resampled(length, outputs, step, kind, bool(align_corners)))
    return x


def pad(x: Boxes, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Boxes:
    """Padding and cropping, from the last dimension backwards."""
    for i, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        length = x.shape[-1 - i]
        if before or after:
            uncut = padded(length, before, after)
            x = x.window(-1 - i, padded(length, before, after, mode), uncut)
    return x


def local_response_norm(x: Boxes, size: int, *_: Any, **__: Any) -> Boxes:
    """Each channel is divided by the strength of its neighbors."""
    return x.window(1, convolution(x.shape[1], size, 1, (size // 2, (size - 1) // 2)))


WINDOWS: dict[str, Callable[..., Any]] = {
    "interpolate": interpolate,
    "local_response_norm": local_response_norm,
    "pad": pad,
    "upsample": interpolate,
}
for n in (1, 2, 3):
    WINDOWS |= {
        f"conv{n}d": conv,
        f"conv_transpose{n}d": conv_transpose,
        f"max_pool{n}d": partial(max_pool, n),
        f"max_pool{n}d_with_indices": partial(max_pool, n, return_indices=True),
        f"avg_pool{n}d": partial(avg_pool, n),
        f"lp_pool{n}d": partial(lp_pool, n),
        f"adaptive_avg_pool{n}d": partial(adaptive_pool, n),
        f"adaptive_max_pool{n}d": partial(adaptive_pool, n),
        f"adaptive_max_pool{n}d_with_indices": partial(adaptive_pool, n, return_indices=True),
        f"max_unpool{n}d": partial(max_unpool, n),
    }
