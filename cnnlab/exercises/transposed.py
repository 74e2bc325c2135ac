"""Exercises of lesson 04: by hand, by inserting zeros, and the output padding that is missing."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.exercises.engine import Cases, ExerciseError, Mistakes, exercise

__all__ = ["by_hand", "by_zero_insertion", "missing_output_padding"]


def as_matrix(result: Any) -> Tensor:
    """Take nested lists, whole numbers or floats, with or without outer brackets."""
    matrix = torch.as_tensor(result, dtype=torch.float64)
    if matrix.ndim < 2 or set(matrix.shape[:-2]) - {1}:
        raise ExerciseError("write the answer as rows of numbers: [[…, …], […, …]]")
    return matrix.reshape(matrix.shape[-2:])


def mistaken_hands() -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    x, kernel = torch.tensor([[[[1, 5], [3, 2]]]]), torch.tensor([[[[0, 1], [2, 3]]]])
    other = torch.tensor([[[[1, 5], [2, 3]]]])
    rotated = kernel.flip(2, 3)
    return {
        "this is the answer for x = [[1, 5], [2, 3]]; here the second row is [3, 2]": (
            F.conv_transpose2d(other, kernel)
        ),
        "you transposed the kernel; it must be rotated by 180°. The name comes from a "
        "transposed matrix, which is another one": F.conv2d(x, kernel.mT, padding=1),
        "you did not rotate the kernel by 180° before you let it slide": (
            F.conv2d(x, kernel, padding=1)
        ),
        "you swapped only the columns of the kernel; rotating it swaps the rows as well": (
            F.conv2d(x, kernel.flip(3), padding=1)
        ),
        "you swapped only the rows of the kernel; rotating it swaps the columns as well": (
            F.conv2d(x, kernel.flip(2), padding=1)
        ),
        "you forgot the border: p′ = k − 1 − p = 1 zero on every side": F.conv2d(x, rotated),
        "this is the ordinary convolution, which makes x smaller": F.conv2d(x, kernel),
        "the border is p′ = k − 1 − p = 1 wide, not 2": F.conv2d(x, rotated, padding=2),
        "this is stride 2: with stride 1 no zeros come between the values of x": (
            F.conv_transpose2d(x, kernel, stride=2)
        ),
    }


@exercise(
    mistakes=mistaken_hands,
    normalize=as_matrix,
    hints=[
        "Stride 1 inserts s − 1 = 0 zeros; the border is p′ = k − 1 − p = 1 zero on every side.",
        "Rotate the kernel by 180°: [[3, 2], [1, 0]]. Its lower right number meets x first.",
        "Or stamp: 1 · kernel at the upper left, 5 · kernel one to the right, 3 · kernel one down, "
        "2 · kernel at the lower right. Add what lies on top of each other.",
    ],
    takeaway="torch, the recipe and the stamps give the same nine numbers",
)
def by_hand() -> Tensor:
    """Three ways to the same nine numbers."""
    x = torch.tensor([[[[1.0, 5.0], [3.0, 2.0]]]])
    kernel = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    by_torch = torch.nn.functional.conv_transpose2d(x, kernel)
    by_recipe = torch.nn.functional.conv2d(x, kernel.flip(2, 3), padding=1)
    by_stamps = torch.zeros(1, 1, 3, 3)
    for row in (0, 1):
        for column in (0, 1):
            value = x[..., row, column, None, None]
            by_stamps[..., row : row + 2, column : column + 2] += value * kernel
    assert torch.equal(by_torch, by_recipe) and torch.equal(by_torch, by_stamps)
    return by_torch[0, 0]


def small_layers(generator: torch.Generator) -> Cases:
    """Yield (x, kernel, stride, padding) with as many channels out as in, and p ≤ k − 1."""
    for channels, side, k, s, p in [
        (1, 2, 2, 1, 0),
        (2, 3, 3, 2, 1),
        (3, 2, 4, 3, 2),
        (2, 4, 2, 2, 0),
    ]:
        x = torch.randn(1, channels, side, side, generator=generator, dtype=torch.float64)
        shape = channels, channels, k, k
        yield x, torch.randn(shape, generator=generator, dtype=torch.float64), s, p


def mistaken_insertions(x: Tensor, kernel: Tensor, stride: int, padding: int) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""

    def recipe(
        weight: Tensor, step: int = stride, border: int | None = None, tail: int = 0
    ) -> Tensor:
        height, width = ((n - 1) * step + 1 + tail for n in x.shape[2:])
        stretched = x.new_zeros(*x.shape[:2], height, width)
        stretched[:, :, ::step, ::step] = x
        border = kernel.shape[-1] - 1 - padding if border is None else border
        return F.conv2d(stretched, weight, padding=border)

    swapped, k = kernel.transpose(0, 1), kernel.shape[-1]
    rotated = swapped.flip(2, 3)
    stretched_again = recipe(rotated)[..., ::stride, ::stride]
    return {
        "the kernel is not rotated: flip its rows and its columns": recipe(swapped),
        "you transposed the kernel's rows and columns; rotate it by 180° instead": (
            recipe(swapped.mT)
        ),
        "the channels are not swapped: conv2d wants (C_out, C_in, k, k)": (
            recipe(kernel.flip(2, 3))
        ),
        "the border is p′ = k − 1 − p, not p": recipe(rotated, border=padding),
        "the border is p′ = k − 1 − p: you forgot to take p off": recipe(rotated, border=k - 1),
        "there are s zeros between the values; it must be s − 1": recipe(rotated, stride + 1),
        "no zeros were inserted: where is the stride?": recipe(rotated, step=1),
        "zeros come between the values, not after the last one": recipe(rotated, tail=stride - 1),
        "you inserted zeros and then went over them in steps of s; the kernel moves by 1": (
            stretched_again
        ),
    }


@exercise(
    cases=small_layers,
    mistakes=mistaken_insertions,
    hints=[
        "Make zeros of shape (B, C_in, (H − 1)·s + 1, (W − 1)·s + 1); x goes into every s-th cell.",
        "The border is k − 1 − padding: give it to conv2d as its padding.",
        "kernel.flip(2, 3) rotates; .transpose(0, 1) makes (C_in, C_out, …) into (C_out, C_in, …).",
    ],
    takeaway="a transposed convolution is an ordinary one, of a stretched input",
)
def by_zero_insertion(
    x: torch.Tensor, kernel: torch.Tensor, stride: int, padding: int
) -> torch.Tensor:
    """Compute conv_transpose2d(x, kernel, None, stride, padding) with an ordinary convolution."""
    batch, channels, height, width = x.shape
    stretched = x.new_zeros(batch, channels, (height - 1) * stride + 1, (width - 1) * stride + 1)
    stretched[:, :, ::stride, ::stride] = x
    border = kernel.shape[-1] - 1 - padding
    flipped = kernel.flip(2, 3).transpose(0, 1)
    return torch.nn.functional.conv2d(stretched, flipped, padding=border)


def downsampling_layers(generator: torch.Generator) -> Cases:
    """Yield (size, kernel, stride, padding)."""
    yield from [
        (16, 5, 2, 2),
        (15, 5, 2, 2),
        (10, 3, 3, 0),
        (7, 2, 2, 0),
        (32, 4, 4, 1),
        (9, 3, 1, 1),
    ]


def mistaken_paddings(size: int, kernel: int, stride: int, padding: int) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    small = (size + 2 * padding - kernel) // stride + 1
    back = (small - 1) * stride + kernel - 2 * padding
    return {
        "this is the size that comes back without output_padding: how much is missing?": back,
        "this is the size after the convolution": small,
        "size % stride holds only where 2·padding − kernel is divisible by the stride": size
        % stride,
        "padding counts on both sides: 2·padding": (size + padding - kernel) % stride,
        "the sign is wrong: size minus what comes back": back - size,
        "(size + 2·padding − kernel) // stride is a number of steps; you want what is left over": (
            small - 1
        ),
        "stride − 1 is the largest that is allowed, not always the one you need": stride - 1,
    }


@exercise(
    cases=downsampling_layers,
    mistakes=mistaken_paddings,
    hints=[
        "How many rows does the convolution never reach, because its last step would not fit?",
        "Compute the small size with //, and from it the size that comes back. Subtract.",
    ],
    takeaway="the rows that the convolution dropped are the rows that output_padding gives back",
)
def missing_output_padding(size: int, kernel: int, stride: int, padding: int) -> int:
    """Return the output_padding with which a transposed convolution undoes a convolution's size."""
    small = (size + 2 * padding - kernel) // stride + 1
    back = (small - 1) * stride - 2 * padding + kernel
    return size - back
