"""Exercises of lesson 01: normalization by channel, and splits that leak."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from cnnlab.exercises.engine import Cases, ExerciseError, Mistakes, exercise

__all__ = ["channel_statistics", "leaking_splits"]


def colored_pictures(generator: torch.Generator) -> Cases:
    """Yield (train, test): uint8 pictures whose channels differ; those of the test are brighter.

    So many pixels that it does not matter whether the variance is divided by n or n - 1.
    """
    for channels in (3, 1):
        level = torch.tensor([90.0, 60.0, 150.0])[:channels, None, None]
        light = 50 * torch.rand(80, 1, 1, 1, generator=generator)
        noise = 20 * torch.randn(80, channels, 40, 48, generator=generator)
        pictures = (level + light + noise).clamp(0, 255)
        yield pictures[:56].byte(), (pictures[56:] + 30).clamp(0, 255).byte()


def two_tensors(result: Any, *_: Tensor) -> tuple[Tensor, ...]:
    """Compare in float64, whatever the precision of the answer."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise ExerciseError("give back two tensors: the means and the standard deviations")
    return tuple(torch.as_tensor(part).double() for part in result)


def mistaken_statistics(train: Tensor, test: Tensor) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    x, both = train.double() / 255, torch.cat([train, test]).double() / 255
    mean, std = x.mean(dim=(0, 2, 3)), x.std(dim=(0, 2, 3))
    wrapped = train.square().double().mean(dim=(0, 2, 3)) / 255**2 - mean.square()
    return {
        "the test pictures had a say: use the training pictures only": (
            both.mean(dim=(0, 2, 3)),
            both.std(dim=(0, 2, 3)),
        ),
        "these are for values from 0 to 255: divide the pictures by 255 first": (
            255 * mean,
            255 * std,
        ),
        "one number for all: keep the channels apart, dim=(0, 2, 3)": (x.mean(), x.std()),
        "these are numbers of each picture: average over the pictures too, dim=(0, 2, 3)": (
            x.mean(dim=(2, 3)),
            x.std(dim=(2, 3)),
        ),
        "you averaged over the channels, and kept the pictures apart": (
            x.mean(dim=(1, 2, 3)),
            x.std(dim=(1, 2, 3)),
        ),
        "the mean of each picture's spread misses how pictures differ from each other": (
            mean,
            x.std(dim=(2, 3)).mean(dim=0),
        ),
        "this is the variance: take its root": (mean, std.square()),
        "uint8 ends at 255, so the squares wrapped around: convert to float before squaring": (
            mean,
            wrapped.clamp(min=0).sqrt(),
        ),
    }


@exercise(
    cases=colored_pictures,
    normalize=two_tensors,
    mistakes=mistaken_statistics,
    hints=[
        "Convert first: train_images.float() / 255.",
        "A tensor of pictures is (N, C, H, W). Which three of the four axes shall disappear?",
        "x.mean(dim=(0, 2, 3)) has shape (C,); x.std takes the same argument.",
    ],
    takeaway="these few numbers belong to the model: they are saved with it and never recomputed",
)
def channel_statistics(
    train_images: torch.Tensor, test_images: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation of each channel, by which both splits are normalized."""
    x = train_images.float() / 255  # (N, C, H, W)
    return x.mean(dim=(0, 2, 3)), x.std(dim=(0, 2, 3))


def mistaken_leaks() -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    return {
        "A is clean: no picture occurs twice, and every one is on one side": "ABCEF",
        "B leaks: a turned copy of a training picture can be among the test pictures": "CEF",
        "C leaks: a frame looks like the one before it, which is in the training set": "BEF",
        "D is clean: no film is on both sides": "BCDEF",
        "E leaks, if only a little: the test pictures helped to choose the scaling": "BCF",
        "F leaks: what was chosen on the test set has fitted it, by luck at least": "BCE",
        "these are the clean ones: name those that leak": "AD",
    }


def letters(result: Any) -> str:
    """Take "B C", "bc", {"B", "C"} and ["B", "C"] alike."""
    text = "".join(result) if isinstance(result, Iterable) else str(result)
    found = sorted(set(text.upper()) - set(" ,;"))
    if not found or set(found) - set("ABCDEF"):
        raise ExerciseError('answer with letters from A to F, such as "AC"')
    return "".join(found)


@exercise(
    normalize=letters,
    mistakes=mistaken_leaks,
    hints=[
        "Ask of each: does anything that was learned, or chosen, depend on a test picture?",
        "Two pictures need not be equal to be nearly the same.",
        "There are four.",
    ],
    takeaway="split first, by film or person or place, and do everything else afterwards",
)
def leaking_splits() -> str:
    """Return the letters of the procedures in which the test set leaks."""
    leaks = {
        "B": "altered copies of one picture end up on both sides",
        "C": "neighboring frames of a film are nearly the same picture",
        "E": "the scaling was fitted to the test pictures as well",
        "F": "the choice among twenty models was fitted to the test set",
    }
    return "".join(leaks)
