"""Exercises of lesson 04: by hand, by inserting zeros, and the output padding that is missing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnlab.exercises.engine import Cases, Mistakes, exercise, matrix

__all__ = ["by_hand", "by_zero_insertion", "missing_output_padding"]


def mistaken_hands() -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    x, kernel = torch.tensor([[[[1, 5], [3, 2]]]]), torch.tensor([[[[0, 1], [2, 3]]]])
    other = torch.tensor([[[[1, 5], [2, 3]]]])
    rotated = kernel.flip(2, 3)
    overwritten = torch.tensor([[0, 0, 5], [0, 0, 2], [6, 4, 6]])
    return {
        "the second row of x is [3, 2], not [2, 3]": F.conv_transpose2d(other, kernel),
        "where stamps lie on top of each other, add them: you kept the last one": overwritten,
        "you transposed the kernel; it must be rotated by 180°. The name comes from a "
        "transposed matrix, which is another one": F.conv2d(x, kernel.mT, padding=1),
        "rotate the kernel by 180° before it slides": F.conv2d(x, kernel, padding=1),
        "rotating the kernel swaps its rows as well": F.conv2d(x, kernel.flip(3), padding=1),
        "rotating the kernel swaps its columns as well": F.conv2d(x, kernel.flip(2), padding=1),
        "you forgot the border: p′ = k − 1 − p = 1 zero on every side": F.conv2d(x, rotated),
        "this is the ordinary convolution, which makes x smaller": F.conv2d(x, kernel),
        "the border is p′ = k − 1 − p = 1 wide, not 2": F.conv2d(x, rotated, padding=2),
        "with stride 1 no zeros come between the values": F.conv_transpose2d(x, kernel, stride=2),
    }


@exercise(
    mistakes=mistaken_hands,
    normalize=matrix,
    hints=[
        "Along each side: two stamps of two numbers, one cell apart. How many cells do they cover?",
        "The first stamp is 1 · kernel at the upper left, the second 5 · kernel one to the right.",
        "Then 3 · kernel one down, 2 · kernel one down and one to the right. Add what lies on top "
        "of each other: all four stamps meet in the middle cell.",
    ],
    takeaway="torch gives the same nine numbers",
)
def by_hand() -> list[list[int]]:
    """Nine sums of stamps: each value of x times each number of the kernel, at its place."""
    return [
        [0, 1, 5],  # 1·0, 1·1 + 5·0, 5·1
        [2, 16, 17],  # 1·2 + 3·0, 1·3 + 5·2 + 3·1 + 2·0, 5·3 + 2·1
        [6, 13, 6],  # 3·2, 3·3 + 2·2, 2·3
    ]


def small_layers(generator: torch.Generator) -> Cases:
    """Yield (x, kernel, stride, padding): float32, never square, channels that differ."""
    for x_shape, (c_out, k), stride, padding in [
        ((1, 1, 2, 3), (2, 2), 1, 0),
        ((2, 3, 4, 2), (2, 3), 2, 1),
        ((3, 2, 2, 3), (5, 4), 3, 2),
        ((2, 2, 3, 5), (3, 2), 2, 0),
        ((1, 4, 3, 2), (1, 5), 4, 1),
    ]:
        x = torch.randn(x_shape, generator=generator)
        yield x, torch.randn(x_shape[1], c_out, k, k, generator=generator), stride, padding


def mistaken_insertions(x: Tensor, kernel: Tensor, stride: int, padding: int) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    k = kernel.shape[-1]
    swapped = kernel.transpose(0, 1)
    rotated = swapped.flip(2, 3)

    def recipe(
        weight: Tensor = rotated, step: int = stride, border: int = k - 1 - padding, tail: int = 0
    ) -> Tensor:
        height, width = ((n - 1) * step + 1 + tail for n in x.shape[2:])
        stretched = x.new_zeros(*x.shape[:2], height, width)
        stretched[:, :, ::step, ::step] = x
        return F.conv2d(stretched, weight, padding=border)

    return {
        "the kernel is not rotated: flip its rows and its columns": recipe(swapped),
        "the kernel is transposed: rotate it by 180° instead": recipe(swapped.mT),
        "the border is p′ = k − 1 − p, not p": recipe(border=padding),
        "the border is p′ = k − 1 − p: you forgot to take p off": recipe(border=k - 1),
        "there are s zeros between the values; it must be s − 1": recipe(step=stride + 1),
        "no zeros were inserted: where is the stride?": recipe(step=1),
        "zeros come between the values, not after the last one": recipe(tail=stride - 1),
        "once zeros are inserted, the kernel moves by 1": recipe()[..., ::stride, ::stride],
    }


@exercise(
    cases=small_layers,
    mistakes=mistaken_insertions,
    without=["conv_transpose2d", "conv_transpose1d", "conv_transpose3d"],
    crashes={
        "expected input": "conv2d wants its kernel as (C_out, C_in, k, k): swap the first two "
        "dimensions of yours",
    },
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
    flipped = kernel.flip(2, 3).transpose(0, 1)  # (C_out, C_in, k, k)
    return torch.nn.functional.conv2d(stretched, flipped, padding=border)


def mistaken_paddings(size: int, kernel: int, stride: int, padding: int) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    small = (size + 2 * padding - kernel) // stride + 1
    back = (small - 1) * stride + kernel - 2 * padding
    return {
        "this is the size that comes back without output_padding: how much is missing?": back,
        "this is the size after the convolution": small,
        "the kernel and the padding count as well": size % stride,
        "padding counts on both sides: 2·padding": (size + padding - kernel) % stride,
        "padding makes the image larger: + 2·padding": (size - 2 * padding - kernel) % stride,
        "the last step must fit inside: − kernel": (size + 2 * padding + kernel) % stride,
        "both signs are wrong: + 2·padding − kernel": (size - 2 * padding + kernel) % stride,
        "the sign is wrong: size minus what comes back": back - size,
        "this is the number of steps; you want what is left over": small - 1,
        "stride − 1 is the largest that is allowed, not always the one you need": stride - 1,
    }


@exercise(
    cases=[
        (8, 2, 3, 1),
        (16, 5, 2, 2),
        (15, 5, 2, 2),
        (11, 3, 4, 2),
        (9, 3, 1, 1),
        (14, 4, 5, 1),
        (20, 7, 6, 3),
        (23, 3, 7, 0),
    ],
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
