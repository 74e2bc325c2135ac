"""Exercises of lesson 01: normalization by channel, and splits that leak."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor

from cnnlab.exercises.engine import Cases, ExerciseError, Mistakes, exercise

__all__ = ["channel_statistics", "leaking_splits"]


def two_splits(generator: torch.Generator) -> Cases:
    """Yield (train, test): uint8 images whose channels differ; the test images are brighter.

    There are so many pixels that it does not matter whether the variance is divided by n or n - 1.
    """
    for channels in (3, 1):
        level = torch.tensor([90.0, 60.0, 150.0])[:channels, None, None]
        light = 50 * torch.rand(40, 1, 1, 1, generator=generator)
        noise = 20 * torch.randn(40, channels, 24, 32, generator=generator)
        images = (level + light + noise).clamp(0, 255)
        yield images[:28].byte(), (images[28:] + 30).clamp(0, 255).byte()


def mistaken_statistics(train: Tensor, test: Tensor) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""

    def statistics(images: Tensor, *dims: int) -> tuple[Tensor, Tensor]:
        return images.mean(dim=dims), images.std(dim=dims)

    x, both = train / 255, torch.cat([train, test]) / 255
    mean, std = statistics(x, 0, 2, 3)
    within = x.std(dim=(2, 3)).mean(dim=0)
    wrapped = (train * train / 255**2).mean(dim=(0, 2, 3)).sub(mean**2).clamp(min=0).sqrt()
    return {
        "the test images had a say: use the training images only": statistics(both, 0, 2, 3),
        "these are the statistics of the test images": statistics(test / 255, 0, 2, 3),
        "values range from 0 to 255: divide the images by 255 first": (255 * mean, 255 * std),
        "one number for all: keep the channels apart, dim=(0, 2, 3)": (x.mean(), x.std()),
        "one number per image: average over the images, too, dim=(0, 2, 3)": statistics(x, 2, 3),
        "you averaged over the channels and kept the images apart": statistics(x, 1, 2, 3),
        "the mean of each image's spread misses how images differ from each other": (mean, within),
        "this is the variance: take its root": (mean, std**2),
        "squares of uint8 wrap around at 255: convert to float before squaring": (mean, wrapped),
    }


@exercise(
    cases=two_splits,
    mistakes=mistaken_statistics,
    hints=[
        "Convert first: train_images.float() / 255.",
        "A tensor of images is (N, C, H, W). Which three of the four axes shall disappear?",
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


def verdicts(result: Any) -> dict[str, str]:
    """Take "BC", "b, c", "B and C", {"B", "C"} and ["B", "C"] alike; return letter -> verdict."""
    words = set(re.findall(r"\w+", str(result).upper())) - {"AND"}
    leaking = set("".join(words))
    if not leaking or leaking - set("ABCDEF"):
        raise ExerciseError('answer with letters from A to F, such as "AC"')
    return {letter: "leaks" if letter in leaking else "clean" for letter in "ABCDEF"}


def mistaken_leaks() -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    return {
        "A is clean: no image occurs twice, and each is on one side": "ABCEF",
        "B leaks: a turned copy of a training image can be among the test images": "CEF",
        "C leaks: a frame looks like the one before it, which is in the training set": "BEF",
        "D is clean: no film is on both sides": "BCDEF",
        "E leaks, if only a little: the test images helped to choose the scaling": "BCF",
        "F leaks: what was chosen on the test set has fitted it, by luck at least": "BCE",
        "these are the clean ones: name those that leak": "AD",
    }


@exercise(
    normalize=verdicts,
    mistakes=mistaken_leaks,
    hints=[
        "Ask of each: does anything that was learned, or chosen, depend on a test image?",
        "Two images need not be equal to be nearly the same.",
        "There are four.",
    ],
    takeaway="split first, by film or person or place, and do everything else afterwards",
)
def leaking_splits() -> str:
    """Return the letters of the procedures in which the test set leaks."""
    # B: altered copies of one image end up on both sides
    # C: neighboring frames of a film are nearly the same image
    # E: the scaling was fitted to the test images as well
    # F: the choice among twenty models was fitted to the test set
    return "BCEF"
