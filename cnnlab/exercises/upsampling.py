"""Exercises of lesson 03: max unpooling by hand, and the Dice score."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cnnlab.exercises.engine import Cases, ExerciseError, Mistakes, exercise, matrix

__all__ = ["dice", "unpooled"]


def four_by_four(result: Any) -> Tensor:
    """Take four rows of four numbers."""
    rows = matrix(result)
    if rows.shape != (4, 4):
        raise ExerciseError(
            f"x had 4 rows of 4 numbers, and so has the unpooled y; yours has {rows.shape[0]} "
            f"of {rows.shape[1]}"
        )
    return rows


def mistaken_unpooling() -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    none = [0, 0, 0, 0]
    return {
        "this is a bed of nails: each value goes where the *maximum* of x was, not to the upper "
        "left": [[10, 0, 20, 0], none, [30, 0, 40, 0], none],
        "this is nearest neighbor: only one cell of each block gets the value, the rest are 0": (
            [[10, 10, 20, 20], [10, 10, 20, 20], [30, 30, 40, 40], [30, 30, 40, 40]]
        ),
        "the places are right, but the values are those of x: y is what is unpooled": (
            [none, [5, 0, 6, 0], [0, 0, 0, 7], [0, 8, 0, 0]]
        ),
        "rows and columns are swapped inside the blocks: 5 stands in the *second row* of its "
        "block": [[0, 10, 0, 20], none, none, [0, 30, 40, 0]],
        "you took the place of the smallest value of each block": (
            [[0, 10, 20, 0], none, [0, 30, 40, 0], none]
        ),
    }


@exercise(
    mistakes=mistaken_unpooling,
    normalize=four_by_four,
    hints=[
        "Cut x into four blocks of 2×2. Where in each block is the largest value?",
        "The largest values are 5, 6, 8 and 7. Write the four values of y into exactly those "
        "cells, and 0 into the twelve others.",
    ],
    takeaway="the values are new, the places are remembered",
)
def unpooled() -> list[list[int]]:
    """Return y, unpooled to the places where x had its maxima."""
    return [
        [0, 0, 0, 0],
        [10, 0, 20, 0],
        [0, 0, 0, 40],
        [0, 30, 0, 0],
    ]


def pairs_of_masks(generator: torch.Generator) -> Cases:
    """Yield (prediction, target): a small one, unlike ones, equal ones, empty ones."""
    yield torch.tensor([[1, 1, 0]]).bool(), torch.tensor([[1, 0, 0]]).bool()
    for share in (0.2, 0.6):
        target = torch.rand(8, 9, generator=generator) < 0.4
        yield target ^ (torch.rand(8, 9, generator=generator) < share), target
    yield target, target
    empty = torch.zeros(4, 5).bool()
    yield from [(empty, empty), (empty, target[:4, :5]), (target[:4, :5], empty)]


def mistaken_dice(prediction: Tensor, target: Tensor) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""

    def share(part: float, whole: float, if_empty: float = 1.0) -> float:
        return part / whole if whole else if_empty

    masks = prediction & target, prediction | target, prediction, target
    both, union, said, true = (float(mask.sum()) for mask in masks)
    return {
        "you divided by the union, |A ∪ B|: that is intersection over union. Dice divides by "
        "|A| + |B|, where the shared pixels count twice": share(both, union),
        "the factor 2 is missing: two equal masks must score 1": share(both, said + true),
        "union below, and a factor 2 above: a score cannot exceed 1": share(2 * both, union),
        "this is pixel accuracy: background that both agree on must count for nothing": float(
            (prediction == target).float().mean()
        ),
        "this is precision: missed pixels must count, too": share(both, said),
        "this is recall: false alarms must count, too": share(both, true),
        "two empty masks agree: their score is 1": share(2 * both, said + true, if_empty=0.0),
    }


@exercise(
    cases=pairs_of_masks,
    mistakes=mistaken_dice,
    hints=[
        "For masks of True and False, `prediction & target` is true where both are.",
        "Three sums are all you need: of the one, of the other, and of what they share.",
        "What if both masks are empty? 0/0 is no score: decide before you divide.",
    ],
    takeaway="background that nobody claims has no say in this score",
)
def dice(prediction: torch.Tensor, target: torch.Tensor) -> float:
    """Return 2·|A ∩ B| / (|A| + |B|) of two bool masks, and 1 if both are empty."""
    both = (prediction & target).sum().item()
    sizes = prediction.sum().item() + target.sum().item()
    return 2 * both / sizes if sizes else 1.0
