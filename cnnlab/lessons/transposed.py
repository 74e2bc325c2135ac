"""Lesson 04: the general transposed convolution, and the stamps that overlap in it.

:func:`transposed_convolution` returns each step of the recipe (stretch, pad, rotate, convolve) and
four views that agree: stamps, zeros, a matrix, a gradient; with batch, channels and every setting
that torch knows. :func:`bed_of_nails` puts zeros between numbers, and :func:`overlap_count` counts
the stamps that reach an output.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["TransposedConvolution", "bed_of_nails", "overlap_count", "transposed_convolution"]

Pair = tuple[int, int]


def transposed_convolution(
    x: Tensor,
    kernel: Tensor,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    output_padding: int | Pair = 0,
    dilation: int | Pair = 1,
) -> TransposedConvolution:
    """Take a transposed convolution apart: its recipe, step by step, and four ways to compute it.

    Parameters
    ----------
    x : Tensor
        Shape (H, W), (C_in, H, W) or (B, C_in, H, W).
    kernel : Tensor
        Shape (k_h, k_w) for an x of shape (H, W), else (C_in, C_out, k_h, k_w).
    stride, padding, output_padding, dilation : int or pair of int
        As in ``torch.nn.functional.conv_transpose2d``: of the convolution that is transposed.

    Returns
    -------
    TransposedConvolution
        ``.zeros_inserted``, ``.border``, ``.stretched``, ``.padded``, ``.flipped_kernel``,
        ``.output``, ``.matrix``, and the views ``.by_scatter()``, ``.by_zero_insertion()``,
        ``.by_matrix()``, ``.by_autograd()`` (Dumoulin and Visin 2016, section 4).

    Raises
    ------
    ValueError
        If shapes or settings do not fit each other; the message is torch's own.

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
            "or x as (C_in, H, W) or (B, C_in, H, W) and kernel as (C_in, C_out, H, W)"
        )
    s, p, q, d = map(_pair, (stride, padding, output_padding, dilation))
    try:
        expected = F.conv_transpose2d(_four(x), _four(kernel), None, s, p, q, 1, d)
    except RuntimeError as problem:
        raise ValueError(str(problem)) from problem
    return TransposedConvolution(x, kernel, s, p, q, d, (expected.shape[2], expected.shape[3]))


@dataclass(frozen=True)
class TransposedConvolution:
    """What :func:`transposed_convolution` returns: each step of the recipe, and four views.

    Everything has as many dimensions as the x that was given.
    """

    x: Tensor  # (B, C_in, H, W), or without B, or without B and C_in
    kernel: Tensor  # (C_in, C_out, k_h, k_w), or (k_h, k_w)
    stride: Pair
    padding: Pair
    output_padding: Pair
    dilation: Pair
    output_size: Pair

    @property
    def zeros_inserted(self) -> int | Pair:
        """Zeros between neighbors, z = s - 1: a pair where rows and columns differ."""
        rows, columns = self.stride
        return rows - 1 if rows == columns else (rows - 1, columns - 1)

    @property
    def border(self) -> int | Pair:
        """Zeros around the stretched input, p′ = d(k - 1) - p; where negative, it is cropped."""
        rows, columns = self._border
        return rows if rows == columns else (rows, columns)

    @property
    def _border(self) -> Pair:
        k_h, k_w = self.kernel.shape[-2:]
        rows = self.dilation[0] * (k_h - 1) - self.padding[0]
        columns = self.dilation[1] * (k_w - 1) - self.padding[1]
        return rows, columns

    @property
    def stretched(self) -> Tensor:
        """The input with z zeros between its rows and columns."""
        s_h, s_w = self.stride
        nails = bed_of_nails(self.x, self.stride)
        return F.pad(nails, (0, 1 - s_w, 0, 1 - s_h))  # without the zeros after the last number

    @property
    def padded(self) -> Tensor:
        """The stretched input with its border, and output_padding more zeros below and right."""
        (top, left), (below, right) = self._border, self.output_padding
        longer = F.pad(self.stretched, (0, right, 0, below))
        return F.pad(longer, (left, left, top, top))  # a negative border crops

    @property
    def flipped_kernel(self) -> Tensor:
        """The kernel rotated by 180°, which is not its transpose."""
        return self.kernel.flip(-2, -1)

    @property
    def output(self) -> Tensor:
        """What the recipe gives: an ordinary convolution of `padded` with `flipped_kernel`."""
        return self.by_zero_insertion()

    @property
    def matrix(self) -> Tensor:
        """The transposed matrix Cᵀ of shape (C_out·H_out·W_out, C_in·H·W).

        C is the ordinary convolution with the same settings, from the large to the small image.
        Its columns, the rows of Cᵀ, are what it makes of images with a single 1 in them.
        """
        channels, (rows, columns) = _four(self.kernel).shape[1], self.output_size
        single = torch.eye(channels * rows * columns, dtype=self.x.dtype, device=self.x.device)
        return self._convolve(single.unflatten(1, (channels, rows, columns))).flatten(1)

    def by_scatter(self) -> Tensor:
        """First view: every input value stamps the kernel, times itself; the stamps add up."""
        x, kernel = _four(self.x), _four(self.kernel)
        (s_h, s_w), (p_h, p_w), (d_h, d_w) = self.stride, self.padding, self.dilation
        (rows, columns), (_, channels, k_h, k_w) = self.output_size, kernel.shape
        canvas = x.new_zeros(len(x), channels, rows + 2 * p_h, columns + 2 * p_w)
        for i, j in product(range(x.shape[2]), range(x.shape[3])):
            stamp = torch.einsum("bi,iohw->bohw", x[:, :, i, j], kernel)  # (B, C_out, k_h, k_w)
            down = slice(i * s_h, i * s_h + d_h * (k_h - 1) + 1, d_h)
            right = slice(j * s_w, j * s_w + d_w * (k_w - 1) + 1, d_w)
            canvas[:, :, down, right] += stamp
        return self._as_given(canvas[:, :, p_h : p_h + rows, p_w : p_w + columns])

    def by_zero_insertion(self) -> Tensor:
        """Second view: an ordinary convolution of the padded input with the flipped kernel."""
        kernel = _four(self.flipped_kernel).transpose(0, 1)  # (C_out, C_in, k_h, k_w)
        return self._as_given(F.conv2d(_four(self.padded), kernel, dilation=self.dilation))

    def by_matrix(self) -> Tensor:
        """Third view: the transposed matrix of a convolution, times the input as one column."""
        y = _four(self.x).flatten(1) @ self.matrix.T  # (B, C_out·H_out·W_out)
        return self._as_given(y.unflatten(1, (-1, *self.output_size)))

    def by_autograd(self) -> Tensor:
        """Fourth view: how an error x at a convolution's output flows back to its input."""
        x, channels = _four(self.x).detach(), _four(self.kernel).shape[1]
        kind = x.dtype if x.is_floating_point() else torch.float64
        large = torch.zeros(
            len(x), channels, *self.output_size, dtype=kind, device=x.device, requires_grad=True
        )
        with torch.enable_grad():
            small = self._convolve(large)
            (gradient,) = torch.autograd.grad(small, large, x.to(kind))
        return self._as_given(gradient.to(x.dtype))

    def _convolve(self, large: Tensor) -> Tensor:
        """Apply the convolution that is transposed: (N, C_out, H_out, W_out) -> (N, C_in, H, W)."""
        kernel, (height, width) = _four(self.kernel).to(large.dtype), self.x.shape[-2:]
        small = F.conv2d(large, kernel, None, self.stride, self.padding, self.dilation)
        return small[..., :height, :width]

    def _as_given(self, image: Tensor) -> Tensor:
        return image[(0,) * (4 - self.x.ndim)]


def _four(image: Tensor) -> Tensor:
    """Add the dimensions of batch and channels where they are missing."""
    return image[(None,) * (4 - image.ndim)]


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

    Examples
    --------
    >>> bed_of_nails(torch.tensor([[1, 5], [3, 2]]), 2)
    tensor([[1, 0, 5, 0],
            [0, 0, 0, 0],
            [3, 0, 2, 0],
            [0, 0, 0, 0]])
    """
    rows, columns = _pair(scale)
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
    sides = zip(_pair(size), _pair(kernel), _pair(stride), _pair(padding), strict=True)
    rows, columns = (
        F.conv_transpose1d(torch.ones(1, 1, n), torch.ones(1, 1, k), None, s, p)[0, 0].long()
        for n, k, s, p in sides
    )
    return columns if isinstance(size, int) else rows[:, None] * columns


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value
