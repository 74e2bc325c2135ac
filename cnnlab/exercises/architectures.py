"""Exercises of lesson 02: why 1×1, and what a layer with groups costs."""

from __future__ import annotations

from cnnlab.exercises.engine import Mistakes, exercise

__all__ = ["bottleneck_saving", "layer_parameters"]


def mistaken_counts(kernel: int, in_channels: int, out_channels: int, groups: int) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    depth = in_channels // groups
    weights = kernel**2 * depth * out_channels
    return {
        "the biases are missing: one for each output channel": weights,
        "a bias belongs to an output channel, not to an input channel": weights + in_channels,
        "each kernel sees only in_channels / groups channels": weights * groups + out_channels,
        "a kernel is square: kernel × kernel weights per channel": weights // kernel + out_channels,
        "this is one kernel: there is one for each output channel": kernel**2 * depth + 1,
        "a kernel is as deep as its input: in_channels / groups": (
            kernel**2 * out_channels + out_channels
        ),
        "one bias is shared by the whole kernel, not one for each of its weights": 2 * weights,
    }


@exercise(
    cases=[(5, 6, 16, 1), (7, 8, 8, 8), (3, 10, 14, 2), (2, 9, 15, 3), (6, 35, 20, 5)],
    mistakes=mistaken_counts,
    hints=[
        "Start with one kernel: how deep is it, if it sees every input channel?",
        "There is one kernel, and one bias, for each output channel.",
        "With groups, each kernel sees in_channels / groups channels.",
    ],
    takeaway="the size of the image does not matter: that is why convolutions are small",
)
def layer_parameters(kernel: int, in_channels: int, out_channels: int, groups: int) -> int:
    """Count the weights and biases of Conv2d(in_channels, out_channels, kernel, groups=groups)."""
    weights_of_one_kernel = kernel * kernel * in_channels // groups
    return out_channels * (weights_of_one_kernel + 1)


def mistaken_savings(channels: int, width: int) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    direct, ends, middle = 9 * channels**2, 2 * channels * width, 9 * width**2
    return {
        "the two 1×1 convolutions cost something as well": direct / middle,
        "there are two 1×1 convolutions: one in front and one behind": direct / (ends / 2 + middle),
        "the outer kernels are 1×1: they need no factor of nine": direct / (9 * ends + middle),
        "the middle one is 3×3: nine weights for each pair of channels": direct / (ends + width**2),
        "the direct convolution is 3×3, too: nine weights": channels**2 / (ends + middle),
        "the other way round: direct cost divided by bottleneck's": (ends + middle) / direct,
        "multiply channels in by channels out": 9 * channels / (2 * channels + 9 * width),
    }


@exercise(
    cases=[(256, 64), (48, 5), (35, 16), (12, 20)],
    mistakes=mistaken_savings,
    hints=[
        "Multiply-adds at one place: kernel² × channels in × channels out.",
        "The bottleneck has three terms: channels → width, width → width, width → channels.",
        "Height and width of the image are the same everywhere: they cancel.",
    ],
    takeaway="a 1×1 convolution mixes channels cheaply, so that the 3×3 has little left to carry",
)
def bottleneck_saving(channels: int, width: int) -> float:
    """Return how many times cheaper 1×1, 3×3, 1×1 is than one 3×3 convolution."""
    direct = 3 * 3 * channels * channels
    bottleneck = channels * width + 3 * 3 * width * width + width * channels
    return direct / bottleneck
