"""The transposed convolution taken apart: each step of its recipe, and four views that agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "TransposedConvolution",
    "as_pair",
    "bed_of_nails",
    "conv_size",
    "conv_transpose_size",
    "icnr_",
    "overlap_count",
    "phase_energy",
    "transposed_convolution",
]

Pair = tuple[int, int]


def conv_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Return the side of a convolution's output (Dumoulin and Visin 2016, section 2).

    Examples
    --------
    >>> conv_size(16, kernel=5, stride=2, padding=2), conv_size(15, kernel=5, stride=2, padding=2)
    (8, 8)
    """
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def conv_transpose_size(
    size: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    dilation: int = 1,
) -> int:
    """Return the side of a transposed convolution's output (Dumoulin and Visin 2016, section 4).

    Examples
    --------
    >>> [conv_transpose_size(8, kernel=5, stride=2, padding=2, output_padding=q) for q in (0, 1)]
    [15, 16]
    """
    return (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1


@dataclass(frozen=True)
class TransposedConvolution:
    """What :func:`transposed_convolution` returns: each step of the recipe, and four views.

    `x` and `kernel` are kept with four dimensions; all else has as many as the x that was given.
    """

    x: Tensor  # (B, C_in, H, W)
    kernel: Tensor  # (C_in, C_out / groups, k_h, k_w)
    stride: Pair
    padding: Pair
    output_padding: Pair
    dilation: Pair
    groups: int
    dimensions: int  # of the x that was given: 2, 3 or 4

    @property
    def zeros_inserted(self) -> int | Pair:
        """Zeros between neighbors, z = s - 1: a pair where rows and columns differ."""
        return _one_if_equal((self.stride[0] - 1, self.stride[1] - 1))

    @property
    def border(self) -> int | Pair:
        """Zeros around the stretched input, p′ = d(k - 1) - p; where negative, it is cropped."""
        return _one_if_equal(self._border)

    @property
    def stretched(self) -> Tensor:
        """The input with z zeros between its rows and columns."""
        return self._as_given(self._stretched)

    @property
    def padded(self) -> Tensor:
        """The stretched input with its border, and output_padding more zeros below and right."""
        return self._as_given(self._padded)

    @property
    def flipped_kernel(self) -> Tensor:
        """The kernel rotated by 180°, which is not its transpose."""
        kernel = self.kernel.flip(-2, -1)
        return kernel[0, 0] if self.dimensions == 2 else kernel

    @property
    def output(self) -> Tensor:
        """What the recipe gives: an ordinary convolution of `padded` with `flipped_kernel`."""
        return self.by_zero_insertion()

    @property
    def matrix(self) -> Tensor:
        """The transposed matrix Cᵀ of shape (C_out·H_out·W_out, C_in·H·W).

        C is the ordinary convolution with the same settings, from the large to the small image:
        each of its rows holds the kernel where that output of the convolution looks.
        """
        (height, width), (rows, columns) = self.x.shape[2:], self.output_size
        kernel = self.kernel.unflatten(0, (self.groups, -1))  # (G, I, O, k_h, k_w)
        groups, c_in, c_out, k_h, k_w = kernel.shape
        conv = kernel.new_zeros(groups, c_in, height, width, groups, c_out, rows, columns)
        for g, i, j, a, b in product(*map(range, (groups, height, width, k_h, k_w))):
            row = i * self.stride[0] - self.padding[0] + a * self.dilation[0]
            column = j * self.stride[1] - self.padding[1] + b * self.dilation[1]
            if 0 <= row < rows and 0 <= column < columns:
                conv[g, :, i, j, g, :, row, column] = kernel[g, :, :, a, b]
        return conv.reshape(groups * c_in * height * width, -1).T

    @property
    def output_size(self) -> Pair:
        """Height and width of the output."""
        settings = (self.stride, self.padding, self.output_padding, self.dilation)
        sides = zip(self.x.shape[2:], self.kernel.shape[2:], *settings, strict=True)
        height, width = (conv_transpose_size(*side) for side in sides)
        return height, width

    def by_scatter(self) -> Tensor:
        """First view: every input value stamps the kernel, times itself; the stamps add up."""
        (s_h, s_w), (p_h, p_w), (d_h, d_w) = self.stride, self.padding, self.dilation
        rows, columns = self.output_size
        x = self.x.unflatten(1, (self.groups, -1))  # (B, G, I, H, W)
        kernel = self.kernel.unflatten(0, (self.groups, -1))  # (G, I, O, k_h, k_w)
        _, _, c_out, k_h, k_w = kernel.shape
        canvas = x.new_zeros(len(x), self.groups * c_out, rows + 2 * p_h, columns + 2 * p_w)
        for i, j in product(*map(range, x.shape[3:])):
            stamp = torch.einsum("bgi,gioyx->bgoyx", x[..., i, j], kernel).flatten(1, 2)
            down = slice(i * s_h, i * s_h + d_h * (k_h - 1) + 1, d_h)
            right = slice(j * s_w, j * s_w + d_w * (k_w - 1) + 1, d_w)
            canvas[:, :, down, right] += stamp
        return self._as_given(canvas[:, :, p_h : p_h + rows, p_w : p_w + columns])

    def by_zero_insertion(self) -> Tensor:
        """Second view: an ordinary convolution of the padded input with the flipped kernel."""
        kernel = self.kernel.flip(-2, -1).unflatten(0, (self.groups, -1))  # (G, I, O, k_h, k_w)
        swapped = kernel.transpose(1, 2).flatten(0, 1)  # (C_out, C_in / G, k_h, k_w)
        y = F.conv2d(self._padded, swapped, dilation=self.dilation, groups=self.groups)
        return self._as_given(y)

    def by_matrix(self) -> Tensor:
        """Third view: the transposed matrix of a convolution, times the input as one column."""
        y = self.x.flatten(1) @ self.matrix.T  # (B, C_out·H_out·W_out)
        return self._as_given(y.reshape(len(y), -1, *self.output_size))

    def by_autograd(self) -> Tensor:
        """Fourth view: how an error x at a convolution's output flows back to its input."""
        channels = self.kernel.shape[1] * self.groups
        kind = self.x.dtype if self.x.is_floating_point() else torch.float64
        large = torch.zeros(len(self.x), channels, *self.output_size, dtype=kind)
        large = large.to(self.x.device).requires_grad_()
        kernel, (height, width) = self.kernel.detach().to(kind), self.x.shape[2:]
        with torch.enable_grad():
            small = F.conv2d(
                large, kernel, None, self.stride, self.padding, self.dilation, self.groups
            )[..., :height, :width]
            (gradient,) = torch.autograd.grad(small, large, self.x.detach().to(kind))
        return self._as_given(gradient.to(self.x.dtype))

    @property
    def _border(self) -> Pair:
        sides = zip(self.kernel.shape[2:], self.dilation, self.padding, strict=True)
        rows, columns = (d * (k - 1) - p for k, d, p in sides)
        return rows, columns

    @property
    def _stretched(self) -> Tensor:
        (s_h, s_w), (*outer, height, width) = self.stride, self.x.shape
        stretched = self.x.new_zeros(*outer, (height - 1) * s_h + 1, (width - 1) * s_w + 1)
        stretched[..., ::s_h, ::s_w] = self.x
        return stretched

    @property
    def _padded(self) -> Tensor:
        (top, left), (below, right) = self._border, self.output_padding
        longer = F.pad(self._stretched, (0, right, 0, below))
        return F.pad(longer, (left, left, top, top))  # a negative border crops

    def _as_given(self, image: Tensor) -> Tensor:
        return image[(0,) * (4 - self.dimensions)]


def transposed_convolution(
    x: Tensor,
    kernel: Tensor,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    output_padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> TransposedConvolution:
    """Take a transposed convolution apart: its recipe, step by step, and four ways to compute it.

    Parameters
    ----------
    x : Tensor
        Shape (H, W), (C_in, H, W) or (B, C_in, H, W).
    kernel : Tensor
        Shape (k_h, k_w) for an x of shape (H, W), else (C_in, C_out / groups, k_h, k_w).
    stride, padding, output_padding, dilation : int or pair of int
        As in ``torch.nn.functional.conv_transpose2d``: of the convolution that is transposed.
    groups : int
        Channels are divided into so many groups that do not see each other.

    Returns
    -------
    TransposedConvolution
        ``.zeros_inserted``, ``.border``, ``.stretched``, ``.padded``, ``.flipped_kernel``,
        ``.output``, ``.matrix``, and the views ``.by_scatter()``, ``.by_zero_insertion()``,
        ``.by_matrix()``, ``.by_autograd()`` (Dumoulin and Visin 2016, section 4).

    Raises
    ------
    ValueError
        If shapes or settings do not fit each other; the message says what would.
    TypeError
        If x and kernel hold different types of numbers.

    Examples
    --------
    >>> t = transposed_convolution(torch.tensor([[1, 5], [3, 2]]), torch.tensor([[0, 1], [2, 3]]))
    >>> t.zeros_inserted, t.border
    (0, 1)
    >>> t.output
    tensor([[ 0,  1,  5],
            [ 2, 16, 17],
            [ 6, 13,  6]])
    """
    if (x.ndim, kernel.ndim) not in ((2, 2), (3, 4), (4, 4)):
        raise ValueError(
            f"x has shape {tuple(x.shape)} and kernel {tuple(kernel.shape)}: give both as (H, W), "
            "or x as (C_in, H, W) or (B, C_in, H, W) and kernel as (C_in, C_out / groups, H, W)"
        )
    if x.dtype != kernel.dtype:
        raise TypeError(
            f"x is {x.dtype} and kernel {kernel.dtype}: make both float, as in x.float()"
        )
    dimensions = x.ndim
    x, kernel = x[(None,) * (4 - x.ndim)], kernel[(None,) * (4 - kernel.ndim)]
    if groups < 1 or x.shape[1] % groups or kernel.shape[0] != x.shape[1] or 0 in kernel.shape:
        raise ValueError(
            f"x has {x.shape[1]} channels and kernel the shape {tuple(kernel.shape)}: its first "
            f"number must be those channels, divisible by groups={groups}"
        )
    steps, spacing = as_pair("stride", stride, least=1), as_pair("dilation", dilation, least=1)
    margin, extra = as_pair("padding", padding), as_pair("output_padding", output_padding)
    if any(q >= max(s, d) for q, s, d in zip(extra, steps, spacing, strict=True)):
        raise ValueError(
            f"output_padding={output_padding} must be below stride={stride} or "
            f"dilation={dilation}: it chooses among the sizes that the stride confuses"
        )
    view = TransposedConvolution(x, kernel, steps, margin, extra, spacing, groups, dimensions)
    if min(view.output_size) < 1 or 0 in x.shape[2:]:
        raise ValueError(
            f"nothing is left: the output would be {view.output_size}; take less padding"
        )
    return view


def as_pair(name: str, value: Any, least: int = 0) -> Pair:
    """Return (value, value) for a number and the pair itself for a pair.

    Raises
    ------
    ValueError
        If it is neither, or a number is below `least`.

    Examples
    --------
    >>> as_pair("stride", 2), as_pair("stride", (1, 2))
    ((2, 2), (1, 2))
    """
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or not all(isinstance(n, int) and n >= least for n in pair):
        raise ValueError(f"{name} must be a whole number >= {least} or a pair of them: {value!r}")
    return pair


def _one_if_equal(pair: Pair) -> int | Pair:
    return pair[0] if pair[0] == pair[1] else pair


def bed_of_nails(x: Tensor, scale: int | Pair) -> Tensor:
    """Put every value at the upper left of a block of scale × scale cells, and zeros elsewhere.

    Parameters
    ----------
    x : Tensor
        Shape (…, H, W).
    scale : int or pair of int
        Side of the block: rows and columns.

    Returns
    -------
    Tensor
        Shape (…, H·scale, W·scale).

    Raises
    ------
    ValueError
        If x has fewer than two dimensions or the scale is below 1.

    Examples
    --------
    >>> bed_of_nails(torch.tensor([[1, 5], [3, 2]]), 2)
    tensor([[1, 0, 5, 0],
            [0, 0, 0, 0],
            [3, 0, 2, 0],
            [0, 0, 0, 0]])
    """
    if x.ndim < 2:
        raise ValueError(f"x must have shape (…, H, W), got {tuple(x.shape)}")
    rows, columns = as_pair("scale", scale, least=1)
    *outer, height, width = x.shape
    nails = x.new_zeros(*outer, height * rows, width * columns)
    nails[..., ::rows, ::columns] = x
    return nails


def overlap_count(
    size: int | Pair, kernel: int | Pair, stride: int | Pair, padding: int | Pair = 0
) -> Tensor:
    """Count how many input values reach each output value of a transposed convolution.

    Parameters
    ----------
    size : int or pair of int
        Inputs: a number gives counts along a line, a pair those of a (height, width) image.
    kernel, stride, padding : int or pair of int
        Settings of the transposed convolution.

    Returns
    -------
    Tensor
        Integers of shape (H_out,) or (H_out, W_out).

    Examples
    --------
    >>> overlap_count(4, kernel=3, stride=2)
    tensor([1, 1, 2, 1, 2, 1, 2, 1, 1])
    >>> overlap_count(4, kernel=4, stride=2, padding=1)
    tensor([1, 2, 2, 2, 2, 2, 2, 1])
    """
    sides, taps = as_pair("size", size, least=1), as_pair("kernel", kernel, least=1)
    if isinstance(size, int):  # a line is an image of one row
        sides, taps = (1, sides[1]), (1, taps[1])
        stride, padding = (1, as_pair("stride", stride, 1)[1]), (0, as_pair("padding", padding)[1])
    ones = torch.ones(sides, dtype=torch.int64), torch.ones(taps, dtype=torch.int64)
    counts = transposed_convolution(*ones, stride, padding).by_scatter()
    return counts[0] if isinstance(size, int) else counts


def phase_energy(output: Tensor, scale: int | Pair, margin: int = 0) -> float:
    """Measure a checkerboard: the share of an image that is a pattern repeating every `scale`.

    Upsampling by s writes s × s interleaved images, its *phases*. If the input is the same
    everywhere, every output should be, too. Whatever differs between the means of the phases is
    the layer's own pattern.

    Parameters
    ----------
    output : Tensor
        Shape (B, C, H, W): what the layer makes of an input without any structure.
    scale : int or pair of int
        Period of the pattern.
    margin : int
        Rows and columns to leave out on every side, where padding is felt.

    Returns
    -------
    float
        Variance between the phases' means over the mean square of the output: 0 without a
        pattern, 1 if nothing but a pattern is there.

    Raises
    ------
    ValueError
        If less than one period is left.

    Examples
    --------
    >>> image = torch.tensor([1.0, 3.0]).repeat(4, 4).expand(1, 1, 4, 8)
    >>> phase_energy(image, 2)  # 2² + 1²: the mean and the pattern
    0.2
    """
    rows, columns = as_pair("scale", scale, least=1)
    inner = output[..., margin : output.shape[-2] - margin, margin : output.shape[-1] - margin]
    high, wide = inner.shape[-2] // rows, inner.shape[-1] // columns
    if output.ndim != 4 or not high or not wide:
        raise ValueError(
            f"need (B, C, H, W) with a period of {scale} inside a margin of {margin}, "
            f"got {tuple(output.shape)}"
        )
    inner = inner[..., : high * rows, : wide * columns].detach().cpu().double()
    cells = inner.unflatten(-1, (wide, columns)).unflatten(-3, (high, rows))
    means = cells.mean(dim=(0, 2, 4))  # (C, rows, columns)
    between = means.var(dim=(1, 2), correction=0).mean()
    return (between / inner.square().mean().clamp(min=1e-300)).item()


def icnr_(
    weight: Tensor, scale: int, initialize: Callable[[Tensor], Tensor] = nn.init.kaiming_normal_
) -> Tensor:
    """Start a convolution before ``nn.PixelShuffle(scale)`` so that all phases are the same.

    "Initialized to convolution, nearest-neighbor resize" (Aitken et al. 2017): the scale² kernels
    whose outputs become one block of pixels are copies of one kernel.

    Parameters
    ----------
    weight : Tensor
        Shape (C_out·scale², C_in, k, k); changed in place, and returned.
    scale : int
        The upscale factor of the pixel shuffle.
    initialize : callable
        Fills a tensor in place: how each of the kernels begins.

    Raises
    ------
    ValueError
        If the first number of the shape is not divisible by scale².

    Examples
    --------
    >>> weight = icnr_(torch.empty(8, 3, 3, 3), scale=2)
    >>> torch.equal(weight[0], weight[3]), torch.equal(weight[3], weight[4])
    (True, False)
    """
    if len(weight) % scale**2:
        raise ValueError(f"{len(weight)} kernels cannot be shared out to {scale}² phases")
    with torch.no_grad():
        kernels = initialize(weight.new_empty(len(weight) // scale**2, *weight.shape[1:]))
        return weight.copy_(kernels.repeat_interleave(scale**2, dim=0))
