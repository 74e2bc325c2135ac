"""Lesson 07: a quiz over the morning, and two exercises that need several lessons at once."""

from __future__ import annotations

from cnnlab.exercises.engine import Mistakes, exercise
from cnnlab.lessons.day import Question

__all__ = ["QUIZ", "encoder_sides", "unet_parameters"]

QUIZ = (
    Question(
        "00",
        "33 pixels, a kernel of 5 with stride 3 and padding 3. How many outputs?",
        {
            "12": "(33 + 2·3 - 5) // 3 + 1.",
            "10": "That forgets the padding: the line has 33 + 2·3 pixels.",
            "11": "The first position is missing: the steps are counted, and 1 is added.",
            "13": "That rounds up; half a step is no output.",
        },
    ),
    Question(
        "00",
        "How many numbers does nn.Conv2d(16, 32, 3) learn?",
        {
            "4640": "32·(16·3·3 + 1): a kernel for each pair of channels, and 32 biases.",
            "4608": "The 32 biases are missing.",
            "320": "Each output channel has a kernel for every input channel, not one in all.",
            "145": "That is one output channel; there are 32.",
        },
    ),
    Question(
        "01",
        "Three test images in a hundred also hide in the training set. The test accuracy is …",
        {
            "too high": "A network can remember them; they measure memory, not learning.",
            "right, like the labels": "Labels are not the problem: these images were seen before.",
            "too low": "Remembered images are easier, not harder.",
        },
    ),
    Question(
        "01",
        "Training error 0 %, validation error 30 %. What should you try first?",
        {
            "more data or augmentation": "The gap is overfitting: more to learn from closes it.",
            "a wider network": "It already has capacity enough to learn all training images.",
            "more epochs": "There is nothing left to learn on the training set.",
        },
    ),
    Question(
        "02",
        "What does a 1×1 convolution do?",
        {
            "mix channels at each position": "So it can make them fewer, cheaply.",
            "nothing: one pixel has no neighbors": "It sees one position, but all its channels.",
            "halve the resolution": "That takes a stride; a 1×1 convolution keeps every position.",
        },
    ),
    Question(
        "02",
        "Why can a residual network be deeper than a plain one?",
        {
            "a block need only learn a change of its input": "Left at zero, a block does no harm.",
            "it has fewer parameters": "An addition changes no number of parameters.",
            "it cannot overfit": "It can; depth was first a problem of training error.",
        },
    ),
    Question(
        "03",
        "What do the skips of a U-Net carry to the decoder?",
        {
            "where things are, finely": "Pooling lost it; the skip brings it back.",
            "the input, to be rebuilt": "That would be an autoencoder; a U-Net predicts a mask.",
            "gradients only": "They carry feature maps, which are concatenated.",
        },
    ),
    Question(
        "03",
        "Max unpooling differs from a bed of nails, since …",
        {
            "it remembers where each maximum was": "The bed of nails uses one corner for all.",
            "it has learned weights": "Neither has any; a transposed convolution has.",
            "it fills the gaps with copies": "That is nearest neighbor; these two leave zeros.",
        },
    ),
    Question(
        "04",
        "A transposed convolution (k = 3, s = 2, p = 1) makes of 8 pixels a side …",
        {
            "15": "(8 - 1)·2 - 2·1 + 3.",
            "16": "Only with output_padding = 1: two input sizes share one output size.",
            "4": "That is the convolution in the other direction.",
            "17": "The padding crops here: one pixel at each end.",
        },
    ),
    Question(
        "04",
        "With k = 4 and s = 2 every output gets equally many inputs. Checkerboards are then …",
        {
            "still possible": "Even and odd outputs use different weights.",
            "impossible": "Counting overlaps is not enough: the weights of the phases differ.",
            "certain": "Training may make the phases agree; nothing forces it to.",
        },
    ),
    Question(
        "05",
        "All weights of a backbone are frozen, and the model is in training mode. What changes?",
        {
            "the means and variances of BatchNorm": "These are buffers; eval mode stops them.",
            "nothing": "No weight does, but BatchNorm's buffers do.",
            "the early layers, slowly": "Without gradients no weight moves.",
        },
    ),
    Question(
        "06",
        "Three 3×3 convolutions, with strides 3, 2 and 1. The receptive field of the last is …",
        {
            "21 × 21": "1 + 2·1 + 2·3 + 2·(3·2).",
            "7 × 7": "That forgets the strides: later kernels step over several pixels.",
            "27 × 27": "Kernel sizes do not multiply; strides do.",
            "19 × 19": "That adds the strides, 1 + 2·1 + 2·3 + 2·(3 + 2); they multiply.",
        },
    ),
)


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
