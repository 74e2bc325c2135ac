"""Exercises of lesson 00: a convolution by hand, a kernel that moves an image, equal sizes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from cnnlab.exercises.engine import Mistakes, exercise, matrix

__all__ = ["by_hand", "move_right", "same_padding"]


def slips_by_hand() -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    x = torch.tensor([[[[1, 0, 2], [3, 1, 0], [0, 2, 1]]]])
    kernel = torch.tensor([[[[1, 2], [0, -1]]]])
    return {
        "leave the kernel as it is: do not turn it by 180°": F.conv2d(x, kernel.flip(2, 3)),
        "you swapped rows and columns of the kernel": F.conv2d(x, kernel.mT),
        "you left out the minus of the kernel's last number": F.conv2d(x, kernel.abs()),
        "the kernel stays inside: do not pad with zeros": F.conv2d(x, kernel, padding=1),
        "the window moves by one pixel, not by two": F.conv2d(x, kernel, stride=2),
    }


@exercise(
    mistakes=slips_by_hand,
    normalize=matrix,
    hints=[
        "The 2 × 2 window fits twice from left to right and twice from top to bottom.",
        "The first window is [[1, 0], [3, 1]]: 1 · 1 + 2 · 0 + 0 · 3 − 1 · 1.",
    ],
    takeaway="four windows, four sums",
)
def by_hand() -> Tensor:
    """Slide the kernel over x: one sum of products for each window."""
    x = torch.tensor([[1, 0, 2], [3, 1, 0], [0, 2, 1]])
    kernel = torch.tensor([[1, 2], [0, -1]])
    output = torch.zeros(2, 2)
    for row in (0, 1):
        for column in (0, 1):
            output[row, column] = (x[row : row + 2, column : column + 2] * kernel).sum()
    return output


def slips_of_moving() -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""

    def one_at(row: int, column: int) -> Tensor:
        kernel = torch.zeros(3, 3)
        kernel[row, column] = 1
        return kernel

    return {
        "this moves the image to the left: a pixel takes its right neighbor's value": one_at(1, 2),
        "this leaves the image where it is": one_at(1, 1),
        "this moves the image down: a pixel takes the value of the one above": one_at(0, 1),
        "this moves the image up: a pixel takes the value of the one below": one_at(2, 1),
        "this blurs: every pixel becomes the mean of nine": torch.full((3, 3), 1 / 9),
    }


@exercise(
    mistakes=slips_of_moving,
    normalize=matrix,
    hints=[
        "After the movement a pixel has the value that its left neighbor had before.",
        "Only one of the nine numbers is not zero: the one that lies on the left neighbor.",
    ],
    takeaway="a pixel takes the value of its left neighbor, so everything moves to the right",
)
def move_right() -> Tensor:
    """Take the value of the left neighbor."""
    return torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])


def slips_of_padding(kernel: int, dilation: int) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    return {
        "with dilation the kernel spans d(k − 1) + 1 pixels, not k": (kernel - 1) // 2,
        "this is the padding of both sides together": dilation * (kernel - 1),
        "k pixels reach (k − 1) / 2 to each side, not k / 2": dilation * kernel // 2,
        "half of the span, without the pixel in the middle": (dilation * (kernel - 1) + 1) / 2,
    }


@exercise(
    cases=[(3, 1), (5, 1), (1, 1), (3, 2), (5, 3), (7, 2), (9, 4)],
    mistakes=slips_of_padding,
    hints=[
        "Set the output of the formula equal to n, with s = 1, and solve for p.",
        "n + 2p − d(k − 1) = n.",
    ],
    takeaway="p = d(k − 1) / 2; the size of the image drops out",
)
def same_padding(kernel: int, dilation: int) -> int:
    """Solve n + 2p - d(k - 1) = n for p."""
    return dilation * (kernel - 1) // 2
