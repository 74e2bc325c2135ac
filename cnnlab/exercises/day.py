"""Lesson 07: two exercises that need several lessons at once."""

from __future__ import annotations

from cnnlab.exercises.engine import Mistakes, exercise

__all__ = ["encoder_sides", "unet_parameters"]


def mistaken_sides(side: int, depth: int) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    multiple = 2**depth

    def halves(top: int) -> list[int]:
        return [top // 2**level for level in range(depth + 1)]

    below = side // multiple * multiple
    padded = side if side == below else below + multiple
    return {
        "pad the image first: an odd side loses a pixel that the skip still has": halves(side),
        "pad the image once, at the top; do not round up at each level": [
            -(-side // 2**level) for level in range(depth + 1)
        ],
        "pad to the next multiple, not to the one below": halves(below),
        "a side that divides already needs no padding": halves(below + multiple),
        "pad to a multiple of 2^depth: a multiple of 2 is even only once": halves(side + side % 2),
        "start with the padded side itself": halves(padded)[1:],
        "depth halvings make depth + 1 sides: the last one is missing": halves(padded)[:-1],
    }


@exercise(
    cases=[(32, 1), (64, 3), (100, 3), (97, 4), (61, 2)],
    mistakes=mistaken_sides,
    hints=[
        "Each level halves the side: how often must it be divisible by two?",
        "-(-side // n) is side / n rounded up.",
    ],
    takeaway="a side that is no multiple of 2^depth is padded up before it is halved",
)
def encoder_sides(side: int, depth: int) -> list[int]:
    """Return the sides of the maps of a U-Net's encoder, from the padded image downwards."""
    multiple = 2**depth
    padded = -(-side // multiple) * multiple
    return [padded // 2**level for level in range(depth + 1)]


def mistaken_counts(c_in: int, c_out: int, k: int) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    first, second = k * k * c_in * c_out, k * k * c_out * c_out
    return {
        "BatchNorm learns two numbers per channel, too": first + second,
        "there are two BatchNorms, one behind each convolution": first + second + 2 * c_out,
        "BatchNorm's mean and variance are buffers, not parameters": first + second + 8 * c_out,
        "the second convolution has c_out channels on both sides": 2 * first + 4 * c_out,
        "a kernel spans all input channels": k * k * (c_out + c_out) + 4 * c_out,
        "a kernel is square: k × k": (first + second) // k + 4 * c_out,
        "a convolution before BatchNorm needs no bias": first + second + 6 * c_out,
    }


@exercise(
    cases=[(1, 2, 3), (3, 5, 3), (7, 4, 2), (6, 35, 5)],
    mistakes=mistaken_counts,
    hints=[
        "Two convolutions without bias, each with a BatchNorm behind it.",
        "A k×k convolution has k·k·c_in·c_out weights; a BatchNorm has a scale and a shift.",
    ],
    takeaway="the second convolution is the larger one as soon as c_out > c_in",
)
def unet_parameters(c_in: int, c_out: int, k: int) -> int:
    """Return the number of parameters of a U-Net's double convolution."""
    convolutions = k * k * c_in * c_out + k * k * c_out * c_out
    batch_norms = 2 * (2 * c_out)
    return convolutions + batch_norms
