"""Exercises of lesson 06: a field by hand, a network for a field, and the field for an insect."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cnnlab.exercises.engine import Cases, ExerciseError, Mistakes, exercise
from cnnlab.fields import ReceptiveFields, receptive_field

__all__ = ["field_by_hand", "first_to_see", "wide_network"]


def three_sizes(answer: Any) -> list[float]:
    """Take three whole numbers: a list, a tuple, an array, a tensor."""
    problem = ExerciseError("write three numbers, the field after each layer: [.., .., ..]")
    try:
        numbers = np.asarray(answer, dtype=float)
    except (TypeError, ValueError) as error:
        raise problem from error
    if numbers.shape != (3,):
        raise problem
    return [int(x) if x.is_integer() else x for x in numbers.tolist()]


def mistaken_fields() -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it, for 5 / 3, then 2 / 2, then 3 dilated."""
    return {
        "the strides are missing: a step of layer 3 is worth six pixels": [5, 6, 10],
        "strides multiply: a step of layer 3 is worth 3 · 2 pixels, not 3 + 2": [5, 8, 28],
        "only the stride just below counts for you: those further down multiply it": [5, 8, 16],
        "use the strides *below* a layer: its own moves its neighbors, not its field": [13, 19, 43],
        "the dilation is missing: three taps with gaps reach over five units": [5, 8, 20],
        "three taps with dilation 2 reach over five units, not six": [5, 8, 38],
        "a kernel of k adds k − 1 steps: its first tap was counted before": [6, 12, 42],
        "the 1 at the start is missing: a pixel sees itself": [4, 7, 31],
        "you went through the layers from the last to the first": [5, 6, 14],
        "padding moves a field, it does not widen it": [7, 16, 52],
        "this is what each layer adds: begin with 1 and add it up": [4, 3, 24],
    }


@exercise(
    normalize=three_sizes,
    mistakes=mistaken_fields,
    hints=[
        "Begin with 1 pixel and a step of 1 pixel.",
        "Each layer adds dilation · (kernel − 1) steps, of the size that was reached below it.",
        "The steps are worth 1, then 3, then 3 · 2 pixels.",
    ],
    takeaway="1 + 4·1 + 1·3 + 4·6: the last layer adds most, for its steps are the largest",
)
def field_by_hand() -> list[int]:
    """Return the fields after kernel 5, stride 3; kernel 2, stride 2; kernel 3, dilation 2."""
    first = 1 + (5 - 1)
    second = first + (2 - 1) * 3
    third = second + 2 * (3 - 1) * (3 * 2)
    return [first, second, third]


def qualities(layers: Any) -> dict[str, Any]:
    """Return what the task asks of a list of layers: field, stride, cost, and pixels left out."""
    table = np.asarray(layers)
    if table.ndim != 2 or table.shape[1] != 3 or table.dtype.kind != "i" or table.min() < 1:
        raise ExerciseError("give a list of (kernel, stride, dilation), each at least 1")
    pixels = {0}
    for kernel, stride, dilation in table[::-1].tolist():
        pixels = {unit * stride + tap * dilation for unit in pixels for tap in range(kernel)}
    field = max(pixels) + 1
    cost = sum(8 * 8 * kernel**2 + 8 for kernel in table[:, 0].tolist())
    return {
        "field": field,
        "stride": math.prod(table[:, 1].tolist()),
        "parameters": "few enough" if cost <= 2400 else f"{cost}, more than 2400",
        "pixels left out": field - len(pixels),
    }


def mistaken_networks() -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    return {
        "too expensive: which setting widens a kernel for nothing?": [(31, 1, 1)],
        "four kernels of 3 see only 9×9 px, for each adds 2: widen them": [(3, 1, 1)] * 4,
        "the field is right, but neighboring outputs lie 8 px apart: strides thin the map out, "
        "dilation does not": [(3, 2, 1), (3, 2, 1), (3, 2, 1), (3, 1, 1)],
        "size and cost are right, but there are holes, pixels that no path reaches: "
        "no dilation may exceed the field below it": [(3, 1, 15)],
        "1, 2, 3, 4 give only 21×21 px: grow faster": [(3, 1, d) for d in (1, 2, 3, 4)],
        "2, 4, 8, 16 give 61×61 px with holes: begin with 1": [(3, 1, d) for d in (2, 4, 8, 16)],
    }


@exercise(
    normalize=qualities,
    mistakes=mistaken_networks,
    hints=[
        "A 3×3 convolution from 8 to 8 channels has 8 · 8 · 9 + 8 = 584 parameters: four fit.",
        "Four of them must add 30 px, each 2 · dilation: the dilations must add up to 15.",
        "Begin with dilation 1, and double.",
    ],
    takeaway="31×31 without a hole, within the budget; one 31×31 kernel costs 61,512 parameters. "
    "Dilation costs nothing, and no hole appears while it does not exceed the field below",
)
def wide_network() -> list[tuple[int, int, int]]:
    """Return (kernel, stride, dilation) of each layer, for 31×31 px and 2,400 parameters."""
    return [(3, 1, 1), (3, 1, 2), (3, 1, 4), (3, 1, 8)]


@cache
def fields_of_a_chain() -> ReceptiveFields:
    """Return fields of 1×5, 3×5, 3×9, 7×9, 7×17, 11×17, 11×33, 19×33, 19×49 … pixels."""
    layers = [
        nn.Conv2d(1, 1, (3, 1) if i % 2 else (1, 5), stride=2 if i % 3 == 2 else 1)
        for i in range(13)
    ]
    return receptive_field(nn.Sequential(*layers), (1, 320, 320))


def insects_and_networks(generator: torch.Generator) -> Cases:
    """Yield (mask, fields); sides equal to a field or between two, lying and upright."""
    sides = [(7, 9), (4, 10), (12, 5), (9, 23), (11, 16), (10, 17), (20, 30), (18, 34)]
    for height, width in sides:
        mask = torch.zeros(50, 51, dtype=torch.bool)
        top, left = torch.randint(0, 16, (2,), generator=generator).tolist()
        mask[top : top + height, left + width // 2] = True  # a cross: long legs, small area
        mask[top + height // 2, left : left + width] = True
        yield mask, fields_of_a_chain()


def mistaken_layers(mask: Tensor, fields: ReceptiveFields) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""

    def first(height: float, width: float) -> str:
        large = [name for name, f in fields.items() if f.size[0] >= height and f.size[1] >= width]
        return [*large, last][0]

    last = list(fields)[-1]
    height, width = (np.ptp(mask.any(dim).nonzero().numpy()) + 1 for dim in (1, 0))
    small, pixels, diagonal = min(height, width), int(mask.sum()), math.hypot(height, width)
    strides = [name for name, f in fields.items() if f.stride and f.stride[0] >= max(height, width)]
    return {
        "rows 3 to 7 are five rows: last − first + 1": first(height - 1, width - 1),
        "a field exactly as large sees the whole insect: ≥, not >": first(height + 1, width + 1),
        "the sides are swapped: field.size is (height, width)": first(width, height),
        "the height alone does not do: insects lie down, too": first(height, 0),
        "the width alone does not do: insects stand up, too": first(0, width),
        "one side is not enough: the field must hold height *and* width": first(small, small),
        "the diagonal is longer than needed: compare height and width": first(diagonal, diagonal),
        "you counted the insect's pixels: compare its height and its width": first(pixels, pixels),
        "you compared the stride: the size says how much is seen": [*strides, last][0],
        "this is the size of the mask: the insect is smaller": first(*mask.shape),
    }


@exercise(
    cases=insects_and_networks,
    mistakes=mistaken_layers,
    hints=[
        "mask.any(dim=1) says which rows the insect touches; .nonzero() gives their numbers.",
        "The insect covers last − first + 1 rows, and columns likewise.",
        "fields.items() goes from the input upwards; field.size is (height, width).",
    ],
    takeaway="before this layer no unit can have seen the insect whole, however well it is trained",
)
def first_to_see(mask: torch.Tensor, fields: dict) -> str:
    """Return the name of the first layer whose field is as high and as wide as the insect."""
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    height = rows.max() - rows.min() + 1
    width = columns.max() - columns.min() + 1
    large = (name for name, f in fields.items() if f.size[0] >= height and f.size[1] >= width)
    return next(large)
