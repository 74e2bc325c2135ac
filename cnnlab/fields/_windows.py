"""The rules of the windowed operations: convolution, pooling, upsampling, padding.

Each has the signature of the torch function of the same name, with boxes in place of numbers.
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


def pair(value: Any) -> tuple[Any, Any]:
    """Return (height, width) of an argument that may be one number for both."""
    values = list(value) if isinstance(value, Sequence) and len(value) else [value]
    return values[0], values[-1]


def on_map(x: Boxes, operation: Callable[..., Taps], *arguments: Any) -> Boxes:
    """Apply one windowed operation to rows and columns; each argument is one number or a pair."""
    for axis, numbers in enumerate(zip(*map(pair, arguments), strict=True)):
        x = x.window(axis - 2, operation(x.shape[axis - 2], *numbers))
    return x


def conv2d(
    x: Boxes, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Boxes:  # fmt: skip
    """Convolution; "same" puts the odd pixel of padding behind, as torch does."""
    kernel = tuple(weight.shape[2:])
    if padding == "same":
        spans = [d * (k - 1) for d, k in zip(pair(dilation), kernel, strict=True)]
        padding = [(span // 2, span - span // 2) for span in spans]
    else:
        padding = [(p, p) for p in pair(0 if padding == "valid" else padding)]
    x = on_map(x, convolution, kernel, stride, padding, dilation)
    return x.mix_channels(groups, weight.shape[0])


def conv_transpose2d(
    x: Boxes, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Boxes:  # fmt: skip
    """Transposed convolution: the input positions that write to an output position."""
    kernel = tuple(weight.shape[2:])
    x = on_map(x, transposed, kernel, stride, padding, output_padding, dilation)
    return x.mix_channels(groups, weight.shape[1] * groups)


def max_pool2d(
    x: Boxes, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Maximum pooling; the indices depend on the whole window too."""
    padding = [(p, p) for p in pair(padding)]
    stride = kernel_size if stride is None or stride == [] else stride
    x = on_map(x, convolution, kernel_size, stride, padding, dilation, ceil_mode)
    return (x, x) if return_indices else x


def avg_pool2d(
    x: Boxes, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    *_: Any, **__: Any,
) -> Boxes:  # fmt: skip
    """Average pooling."""
    return max_pool2d(x, kernel_size, stride, padding, 1, ceil_mode)


def lp_pool2d(
    x: Boxes, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Boxes:
    """Pooling by a power mean."""
    return max_pool2d(x, kernel_size, stride, 0, 1, ceil_mode)


def adaptive_pool2d(x: Boxes, output_size: Any, return_indices: bool = False) -> Any:
    """Pooling to a given size; to 1×1 it is global pooling."""
    sizes = [n or length for n, length in zip(pair(output_size), x.shape[-2:], strict=True)]
    x = on_map(x, adaptive, sizes)
    if sizes == [1, 1]:
        x = Boxes(x.sides, x.sites, [None, None], x.reason or "global pooling")
    return (x, x) if return_indices else x


def max_unpool2d(
    x: Boxes, indices: Boxes, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Boxes:  # fmt: skip
    """Max unpooling: a value may come back anywhere in the window that it was taken from."""
    x = union(x, indices)
    kernel, steps = pair(kernel_size), pair(kernel_size if stride is None else stride)
    for axis in (0, 1):
        taps = transposed(x.shape[axis - 2], kernel[axis], steps[axis], pair(padding)[axis])
        if output_size is not None:
            taps = Taps(list(output_size)[axis - 2], taps.step, taps.of)
        x = x.window(axis - 2, taps)
    return x


def interpolate(
    x: Boxes, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None, recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Boxes:  # fmt: skip
    """Resampling to a size or by a factor."""
    if antialias or mode not in ("nearest", "nearest-exact", "bilinear", "bicubic", "area"):
        raise KeyError(f"interpolate with mode={mode!r}, antialias={antialias}")
    # 1.3 is meant as 13/10, not as the nearest binary number
    factors = [Fraction(str(factor)) for factor in pair(scale_factor or 1)]
    sizes = [floor(x.shape[axis - 2] * factors[axis]) for axis in (0, 1)]
    if size is not None:
        sizes = list(pair(size))
    if mode == "area":
        return adaptive_pool2d(x, sizes)
    for axis, outputs in enumerate(sizes):
        length = x.shape[axis - 2]
        by_size = size is not None or recompute_scale_factor
        step = Fraction(length, outputs) if by_size else 1 / factors[axis]
        x = x.window(axis - 2, resampled(length, outputs, step, mode, bool(align_corners)))
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


NAMED_AS_IN_TORCH: list[Any] = [
    avg_pool2d, conv2d, conv_transpose2d, interpolate, local_response_norm, lp_pool2d, max_pool2d,
    max_unpool2d, pad,
]  # fmt: skip
WINDOWS: dict[str, Callable[..., Any]] = {
    **{rule.__name__: rule for rule in NAMED_AS_IN_TORCH},
    "adaptive_avg_pool2d": adaptive_pool2d,
    "adaptive_max_pool2d": adaptive_pool2d,
    "adaptive_max_pool2d_with_indices": partial(adaptive_pool2d, return_indices=True),
    "max_pool2d_with_indices": partial(max_pool2d, return_indices=True),
    "upsample": interpolate,
}
