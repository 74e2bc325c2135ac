"""Upsampling: bed of nails, transposed convolutions, and the checkerboards that they draw."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cnnlab.transposed import Pair, as_pair, transposed_convolution

__all__ = ["bed_of_nails", "icnr_", "overlap_count", "phase_energy", "transposed_convolution"]


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
    weight: Tensor, scale: int, initialise: Callable[[Tensor], Tensor] = nn.init.kaiming_normal_
) -> Tensor:
    """Start a convolution before ``nn.PixelShuffle(scale)`` so that all phases are the same.

    "Initialised to convolution, nearest-neighbour resize" (Aitken et al. 2017): the scale² kernels
    whose outputs become one block of pixels are copies of one kernel.

    Parameters
    ----------
    weight : Tensor
        Shape (C_out·scale², C_in, k, k); changed in place, and returned.
    scale : int
        The upscale factor of the pixel shuffle.
    initialise : callable
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
        kernels = initialise(weight.new_empty(len(weight) // scale**2, *weight.shape[1:]))
        return weight.copy_(kernels.repeat_interleave(scale**2, dim=0))
