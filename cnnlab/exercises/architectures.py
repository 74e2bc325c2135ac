"""Exercises of lesson 02: what a layer costs, why 1×1, and a network for a phone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from cnnlab.exercises.engine import Cases, Mistakes, exercise

__all__ = ["best_within", "bottleneck_saving", "layer_parameters"]


def layers(generator: torch.Generator) -> Cases:
    """Yield (kernel, in_channels, out_channels, groups); LeNet-5's third layer comes first."""
    yield 5, 6, 16, 1
    yield 7, 8, 8, 8  # depthwise
    for _ in range(4):
        kernel, a, b, groups = (int(n) for n in torch.randint(2, 7, (4,), generator=generator))
        yield kernel, a * groups, (b + 5) * groups, groups


def mistaken_counts(kernel: int, in_channels: int, out_channels: int, groups: int) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    weights = kernel**2 * in_channels * out_channels
    return {
        "the biases are missing: one for each output channel": weights // groups,
        "a bias belongs to an output channel, not to an input channel": weights // groups
        + in_channels,
        "groups are missing: each kernel sees only in_channels / groups channels": weights
        + out_channels,
        "a kernel is square: kernel × kernel weights for each pair of channels": kernel
        * in_channels
        * out_channels
        // groups
        + out_channels,
        "this is one kernel: there is one for each output channel": kernel**2
        * in_channels
        // groups
        + 1,
        "every kernel is as deep as its input: multiply by in_channels / groups": kernel**2
        * out_channels
        + out_channels,
        "one bias is shared by the whole kernel, not one for each of its weights": 2
        * (weights // groups),
    }


@exercise(
    cases=layers,
    mistakes=mistaken_counts,
    hints=[
        "Start with one kernel: how deep is it, if it sees every input channel?",
        "There is one kernel, and one bias, for each output channel.",
        "With groups, each kernel sees in_channels / groups channels.",
    ],
    takeaway="the size of the picture does not matter: that is why convolutions are small",
)
def layer_parameters(kernel: int, in_channels: int, out_channels: int, groups: int) -> int:
    """Count the weights and biases of Conv2d(in_channels, out_channels, kernel, groups=groups)."""
    weights_of_one_kernel = kernel * kernel * in_channels // groups
    return out_channels * (weights_of_one_kernel + 1)


def bottlenecks(generator: torch.Generator) -> Cases:
    """Yield (channels, width); ResNet-50's first stage comes first."""
    yield 256, 64
    for _ in range(4):
        width, factor = (int(n) for n in torch.randint(2, 9, (2,), generator=generator))
        yield 16 * width * factor, 16 * width


def mistaken_savings(channels: int, width: int) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    direct, ends, middle = 9 * channels**2, 2 * channels * width, 9 * width**2
    return {
        "the two 1×1 convolutions cost something as well": direct / middle,
        "there are two 1×1 convolutions: one in front and one behind": direct / (ends / 2 + middle),
        "the outer kernels are 1×1: they need no factor of nine": direct / (9 * ends + middle),
        "the middle one is 3×3: nine weights for each pair of channels": direct / (ends + width**2),
        "the other way round: direct cost divided by bottleneck's": (ends + middle) / direct,
        "a cost goes with the product of channels in and out, not with one of them": 9
        * channels
        / (2 * channels + 9 * width),
    }


@exercise(
    cases=bottlenecks,
    normalize=lambda result, *_: round(float(result), 6),
    mistakes=mistaken_savings,
    hints=[
        "Multiply-adds at one place: kernel² × channels in × channels out.",
        "The bottleneck has three terms: channels → width, width → width, width → channels.",
        "Height and width of the picture are the same everywhere: they cancel.",
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


def ledgers(generator: torch.Generator) -> Cases:
    """Yield (rows, most GMACs, most parameters); one row has no accuracy, one lies on the limit."""
    for _ in range(6):
        gmacs = (torch.rand(8, generator=generator) * 4 + 0.1).tolist()
        sizes = (torch.rand(8, generator=generator) * 4e7 + 1e6).tolist()
        top1 = (60 + 20 * torch.rand(8, generator=generator)).tolist()
        rows = [
            Row(f"net{i}", round(g, 2), int(p), round(a, 1))
            for i, (g, p, a) in enumerate(zip(gmacs, sizes, top1, strict=True))
        ]
        best = max(row.top1 or 0 for row in rows)
        rows += [
            Row("no accuracy", 0.05, 100_000, None),
            Row("small", 0.06, 200_000, 50.0),
            Row("on the limit", 2.0, 20_000_000, best + 1),
            Row("too many multiply-adds", 2.5, 5_000_000, best + 2),
            Row("too large", 1.5, 60_000_000, best + 3),
            Row("too much of both", 2.5, 60_000_000, best + 4),
        ]
        order = torch.randperm(len(rows), generator=generator).tolist()
        yield [rows[i] for i in order], 2.0, 20_000_000


def mistaken_choices(rows: Sequence[Row], max_gmacs: float, max_parameters: int) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    known = [row for row in rows if row.top1]
    fits = [row for row in known if row.gmacs <= max_gmacs and row.parameters <= max_parameters]
    below = [row for row in fits if row.gmacs < max_gmacs]

    def best(candidates: Sequence[Row]) -> str:
        return max(candidates, key=lambda row: row.top1 or 0).name

    return {
        "the most accurate of all: it does not keep to the limits": best(known),
        "it has too many parameters: few multiply-adds do not make a small file": best(
            [row for row in known if row.gmacs <= max_gmacs]
        ),
        "it needs too many multiply-adds: a small file can still be slow": best(
            [row for row in known if row.parameters <= max_parameters]
        ),
        "what lies exactly on a limit keeps to it: use <=": best(below),
        "the cheapest that fits: take the most accurate one": min(
            fits, key=lambda row: row.gmacs
        ).name,
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
    candidates = [row for row in rows if row.top1 and row.gmacs <= max_gmacs
                  and row.parameters <= max_parameters]  # fmt: skip
    return max(candidates, key=lambda row: row.top1).name
