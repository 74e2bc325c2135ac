"""Exercises of lesson 02: what a layer costs, why 1×1, and a network for a phone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch

from cnnlab.exercises.engine import Cases, Mistakes, exercise

__all__ = ["best_within", "bottleneck_saving", "layer_parameters"]


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


class Row(NamedTuple):
    """What the exercise needs of a row of the ledger."""

    name: str
    gmacs: float
    parameters: int
    top1: float | None


LEDGER = (
    Row("no accuracy", 0.05, 100_000, None),
    Row("cheapest", 0.06, 900_000, 55.0),
    Row("smallest", 0.9, 200_000, 61.0),
    Row("least accurate", 0.8, 4_000_000, 50.0),
    Row("well inside", 1.2, 12_000_000, 70.0),
    Row("many multiply-adds, just allowed", 2.0, 11_000_000, 74.0),
    Row("many parameters, just allowed", 1.1, 20_000_000, 73.0),
    Row("on both limits", 2.0, 20_000_000, 75.0),
    Row("too many multiply-adds", 2.5, 5_000_000, 76.0),
    Row("too many parameters", 1.5, 60_000_000, 77.0),
    Row("too much of both", 2.5, 60_000_000, 78.0),
)


def ledgers(generator: torch.Generator) -> Cases:
    """Yield (rows, most GMACs, most parameters): rows in any order, some left out."""
    for left_out in [(), ("on both limits",), ("on both limits", LEDGER[5].name)]:
        rows = [row for row in LEDGER if row.name not in left_out]
        order = torch.randperm(len(rows), generator=generator).tolist()
        yield [rows[i] for i in order], 2.0, 20_000_000


def mistaken_choices(rows: list[Row], max_gmacs: float, max_parameters: int) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    known = [row for row in rows if row.top1]
    slim = [row for row in known if row.parameters <= max_parameters]
    fast = [row for row in known if row.gmacs <= max_gmacs]
    fits = [row for row in slim if row in fast]
    below = [row for row in fits if row.gmacs < max_gmacs and row.parameters < max_parameters]

    def best(candidates: Iterable[Row]) -> str:
        return max(candidates, key=lambda row: row.top1 or 0).name

    return {
        "the most accurate of all: it does not keep to the limits": best(known),
        "it has too many parameters: few multiply-adds do not make a small file": best(fast),
        "it needs too many multiply-adds: a small file can still be slow": best(slim),
        "what lies exactly on a limit keeps to it: use <=": best(below),
        "the least accurate that fits: use max, not min": "least accurate",
        "the cheapest that fits: take the most accurate one": "cheapest",
        "the smallest that fits: take the most accurate one": "smallest",
        "a network without an accuracy cannot be chosen by it": "no accuracy",
    }


@exercise(
    cases=ledgers,
    mistakes=mistaken_choices,
    hints=[
        "First leave out what breaks a limit, or has no accuracy (row.top1 is None).",
        "max(candidates, key=lambda row: row.top1) finds the row; its name is row.name.",
    ],
    takeaway="first the limits, then the accuracy; and measure on the phone before you decide",
)
def best_within(rows: list, max_gmacs: float, max_parameters: int) -> str:
    """Name the most accurate network that keeps to both limits."""
    known = [row for row in rows if row.top1 is not None]
    candidates = [
        row for row in known if row.gmacs <= max_gmacs and row.parameters <= max_parameters
    ]
    return max(candidates, key=lambda row: row.top1).name
