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

from cnnlab.fields.boxes import Boxes, joined
from cnnlab.fields.taps import Taps, adaptive, convolution, padded, resampled, transposed

__all__ = ["WINDOWS"]


def pair(value: Any) -> tuple[Any, Any]:
    """Return (height, width) of an argument that may be one number for both."""
    values = list(value) if isinstance(value, Sequence) and len(value) else [value]
    return values[0], values[-1]


def on_map(x: Boxes, operation: Callable[..., Taps], *arguments: Any) -> Boxes:
    """Apply one windowed operation to rows and columns; each argument is one number or a pair."""
    for axis, numbers in enumerate(zip(*map(pair, arguments), strict=True)):
        x = x.windowed(axis - 2, operation(x.shape[axis - 2], *numbers))
    return x


def conv2d(
    x: Boxes,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Boxes:
    """Convolution; "same" puts the odd pixel of padding behind, as torch does."""
    if padding == "same":
        spans = [d * (k - 1) for d, k in zip(pair(dilation), weight.shape[2:], strict=True)]
        padding = [(span // 2, span - span // 2) for span in spans]
    else:
        padding = [(p, p) for p in pair(0 if padding == "valid" else padding)]
    x = on_map(x, convolution, tuple(weight.shape[2:]), stride, padding, dilation)
    return x.mixed(groups, weight.shape[0])


def conv_transpose2d(
    x: Boxes,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Boxes:
    """Transposed convolution: the input positions that write to an output position."""
    kernel = tuple(weight.shape[2:])
    x = on_map(x, transposed, kernel, stride, padding, output_padding, dilation)
    return x.mixed(groups, weight.shape[1] * groups)


def max_pool2d(
    x: Boxes,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maximum pooling; the indices depend on the whole window too."""
    padding = [(p, p) for p in pair(padding)]
    stride = kernel_size if stride is None or stride == [] else stride
    x = on_map(x, convolution, kernel_size, stride, padding, dilation, ceil_mode)
    return (x, x) if return_indices else x


def avg_pool2d(
    x: Boxes,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    *_: Any,
    **__: Any,
) -> Boxes:
    """Average pooling."""
    return max_pool2d(x, kernel_size, stride, padding, 1, ceil_mode)


def lp_pool2d(
    x: Boxes, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Boxes:
    """Pooling by a power mean."""
    return max_pool2d(x, kernel_size, stride, 0, 1, ceil_mode)


def adaptive_pool2d(x: Boxes, output_size: Any, return_indices: bool = False) -> Any:
    """Pooling to a given size; to 1×1 it is global pooling."""
    wanted = pair(output_size)
    sizes = [x.shape[d - 2] if n is None else n for d, n in enumerate(wanted)]
    x = on_map(x, adaptive, sizes)
    if sizes == [1, 1]:
        x = Boxes(x.sides, x.sites, [None, None], x.reason or "global pooling")
    return (x, x) if return_indices else x


def max_unpool2d(
    x: Boxes,
    indices: Boxes,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Boxes:
    """Max unpooling: a value may come back anywhere in the window that it was taken from."""
    x = joined(x, indices)
    kernel, stride = pair(kernel_size), pair(kernel_size if stride is None else stride)
    for axis in (0, 1):
        length = x.shape[axis - 2]
        taps = transposed(length, kernel[axis], stride[axis], pair(padding)[axis])
        if output_size is not None:
            taps = Taps(list(output_size)[axis - 2], taps.step, taps.of)
        x = x.windowed(axis - 2, taps)
    return x


def interpolate(
    x: Boxes,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Boxes:
    """Resampling to a size or by a factor."""
    if antialias or mode not in ("nearest", "nearest-exact", "bilinear", "bicubic", "area"):
        raise KeyError(f"interpolate with mode={mode!r}, antialias={antialias}")
    if mode == "area":
        factors = pair(scale_factor or 1)
        sizes = [floor(x.shape[a - 2] * factors[a]) for a in (0, 1)]
        return adaptive_pool2d(x, size if size is not None else sizes)
    for axis in (0, 1):
        length = x.shape[axis - 2]
        if size is not None:
            outputs = int(pair(size)[axis])
            step = Fraction(length, outputs)
        else:
            factor = pair(scale_factor)[axis]
            outputs = floor(length * factor)
            step = Fraction(length, outputs) if recompute_scale_factor else 1 / exactly(factor)
        x = x.windowed(axis - 2, resampled(length, outputs, step, mode, bool(align_corners)))
    return x


def exactly(factor: float) -> Fraction:
    """Return 1.3 as 13/10, not as the nearest binary number."""
    return Fraction(str(factor))


def pad(x: Boxes, pad: Sequence[int], mode: str = "constant", value: Any = None) -> Boxes:
    """Padding and cropping, from the last dimension backwards."""
    for i in range(len(pad) // 2):
        before, after = pad[2 * i], pad[2 * i + 1]
        length = x.shape[-1 - i]
        if before or after:
            uncut = padded(length, before, after)
            x = x.windowed(-1 - i, padded(length, before, after, mode), uncut)
    return x


def local_response_norm(x: Boxes, size: int, *_: Any, **__: Any) -> Boxes:
    """Each channel is divided by the strength of its neighbors."""
    return x.windowed(1, convolution(x.shape[1], size, 1, (size // 2, (size - 1) // 2)))


WINDOWS: dict[str, Callable[..., Any]] = {
    "adaptive_avg_pool2d": adaptive_pool2d,
    "adaptive_max_pool2d": adaptive_pool2d,
    "adaptive_max_pool2d_with_indices": partial(adaptive_pool2d, return_indices=True),
    "avg_pool2d": avg_pool2d,
    "conv2d": conv2d,
    "conv_transpose2d": conv_transpose2d,
    "interpolate": interpolate,
    "local_response_norm": local_response_norm,
    "lp_pool2d": lp_pool2d,
    "max_pool2d": max_pool2d,
    "max_pool2d_with_indices": partial(max_pool2d, return_indices=True),
    "max_unpool2d": max_unpool2d,
    "pad": pad,
    "upsample": interpolate,
}
