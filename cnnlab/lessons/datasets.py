"""Lesson 01: cards of well-known datasets, and figures of data, capacity and overfitting.

:func:`read_cards` reads ``data/published/datasets.csv``, a card for each dataset, and
:func:`plot_datasets` draws their sizes. :func:`plot_errors` draws training and validation errors
of networks of several widths, :func:`shift_turn_scale` augments digits, and
:func:`plot_distances` shows how a search tells duplicates from new images.
"""

from __future__ import annotations

import csv
import math
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MultipleLocator
from torch import Tensor
from torch.nn import functional as F

from cnnlab.data.downloads import packaged
from cnnlab.data.splits import to_float
from cnnlab.lessons.labels import place_labels
from cnnlab.plotting import COLORS, styled

__all__ = [
    "DatasetCard",
    "plot_datasets",
    "plot_distances",
    "plot_errors",
    "read_cards",
    "shift_turn_scale",
]


@dataclass(frozen=True)
class DatasetCard:
    """What one should know of a dataset before using it; it prints as a card.

    Attributes
    ----------
    train, val, test : int or None
        Images in each split; None where there is none.
    height, width : int
        Pixels; of a usual image where ``sizes`` is "varied", else of all.
    bytes : int or None
        Of the files to download, None if unknown.
    torchvision : str
        The class of ``torchvision.datasets`` that reads it; empty if there is none.
    source, note : str
        The paper with its year, and what is easily overlooked.
    """

    name: str
    year: int
    task: str
    train: int
    val: int | None
    test: int | None
    classes: int
    height: int
    width: int
    channels: int
    sizes: str
    bytes: int | None
    torchvision: str
    license: str
    source: str
    note: str

    @property
    def images(self) -> int:
        """Images in all splits together."""
        return self.train + (self.val or 0) + (self.test or 0)

    def __str__(self) -> str:
        splits = {"train": self.train, "validation": self.val, "test": self.test}
        counts = [f"{number:,} {name}" for name, number in splits.items() if number]
        about = "about " if self.sizes == "varied" else ""
        color = "gray" if self.channels == 1 else "color"
        size = EngFormatter("B", places=1)  # MB, GB, …: powers of ten
        lines = {
            "task": self.task,
            "images": " + ".join(counts) if counts[1:] else f"{self.train:,}, not split",
            "classes": f"{self.classes:,}",
            "pixels": f"{about}{self.height} × {self.width}, {color}",
            "download": size(self.bytes) if self.bytes else "size unknown",
            "class": f"torchvision.datasets.{self.torchvision}" if self.torchvision else "none",
            "license": self.license,
            "source": self.source,
            "note": textwrap.fill(self.note, 76, subsequent_indent=" " * 12),
        }
        rows = [f"  {name:<9} {text}" for name, text in lines.items()]
        return "\n".join([f"{self.name} ({self.year})", *rows])


def read_cards() -> dict[str, DatasetCard]:
    """Return the cards by name, in the order of the file.

    Examples
    --------
    >>> print(read_cards()["CIFAR-10"].torchvision)
    CIFAR10
    """
    texts = {"name", "task", "sizes", "torchvision", "license", "source", "note"}
    cards = {}
    with packaged("published", "datasets.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            values: dict[str, Any] = {
                key: text if key in texts else int(text) if text else None
                for key, text in row.items()
            }
            cards[row["name"]] = DatasetCard(**values)
    return cards


@styled()
def plot_datasets(cards: Mapping[str, DatasetCard], ax: Axes | None = None) -> Axes:
    """Draw images against pixels per image, both on a log scale; diagonals have equal totals.

    Parameters
    ----------
    cards : mapping
        From :func:`read_cards`. Datasets of one size share a point.
    ax : Axes, optional
        Where to draw.

    Examples
    --------
    >>> ax = plot_datasets(read_cards())
    >>> "MNIST, Fashion-MNIST" in [text.get_text() for text in ax.texts]
    True
    """
    names: dict[tuple[float, float], list[str]] = defaultdict(list)
    ax = plt.subplots(figsize=(10, 4.8))[1] if ax is None else ax
    for card in cards.values():
        point = (card.images, card.height * card.width)
        names[point].append(card.name)
        color = COLORS[0 if card.task == "classification" else 1]
        ax.plot(*point, "o", color=color, ms=10)
    for color, task in ((COLORS[0], "classification"), (COLORS[1], "also boxes or outlines")):
        ax.plot([], [], "o", color=color, ms=10, label=task)
    for exponent in range(8, 14):
        total = 10.0**exponent
        images = np.array([3e3, 1e8])
        ax.plot(images, total / images, color="lightgray", lw=1, zorder=0)
        end = min(8e7, total / 240)  # where the line leaves the figure
        ax.text(end, total / end, f"$10^{{{exponent}}}$ pixels", color="dimgray", size=11,
                rotation=-27, rotation_mode="anchor", ha="right", va="bottom")  # fmt: skip
    ax.legend(loc="upper left")
    ax.set(xscale="log", yscale="log", xlim=(3e3, 1e8), ylim=(2e2, 3e6))
    ax.set(xlabel="images", ylabel="pixels per image")
    place_labels(ax, {", ".join(group): point for point, group in names.items()})
    return ax


@styled()
def plot_errors(
    sizes: Sequence[int],
    errors: Mapping[str, tuple[Tensor, Tensor]],
    ax: Axes | None = None,
) -> Axes:
    """Draw training errors (dotted) and validation errors over the number of training images.

    Parameters
    ----------
    sizes : sequence of int
        N numbers of training images.
    errors : mapping
        Name of a network -> its training and its validation errors, each of shape (N,).
    ax : Axes, optional
        Where to draw.

    Examples
    --------
    >>> ax = plot_errors([30, 300], {"small": (torch.zeros(2), torch.tensor([0.4, 0.1]))})
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['small', 'validation error', 'training error']
    """
    ax = plt.subplots(figsize=(9, 4))[1] if ax is None else ax
    for (name, (train, val)), color in zip(errors.items(), COLORS, strict=False):
        ax.plot(sizes, val, "o-", color=color, lw=2, label=name)
        ax.plot(sizes, train, "o:", color=color, lw=2)
    ax.plot([], [], "-", color="gray", lw=2, label="validation error")
    ax.plot([], [], ":", color="gray", lw=2, label="training error")
    ax.set_xscale("log")
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
    ax.set_xticks([], minor=True)
    ax.yaxis.set_major_locator(MultipleLocator(0.05))
    ax.yaxis.set_major_formatter("{x:.0%}")
    ax.set(xlabel="training images", ylabel="error", ylim=(-0.01, None))
    ax.legend()
    return ax


def shift_turn_scale(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by up to 2 of 28 pixels, turn it by 15°, scale it by 20 %; at random.

    Nothing is mirrored: a mirrored 2 is no 2. What comes in from beyond the edge is black.

    Examples
    --------
    >>> images = torch.zeros(4, 1, 28, 28, dtype=torch.uint8)
    >>> shift_turn_scale(images, torch.Generator().manual_seed(0)).shape
    torch.Size([4, 1, 28, 28])
    """
    u = 2 * torch.rand(4, len(images), generator=generator) - 1  # each in [-1, 1]
    scale, angle, shift = torch.exp(0.2 * u[0]), math.radians(15) * u[1], 0.15 * u[2:]
    cos, sin = scale * angle.cos(), scale * angle.sin()
    maps = torch.stack([cos, -sin, shift[0], sin, cos, shift[1]], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(to_float(images), grid, align_corners=False)


@styled()
def plot_distances(
    bits: Tensor, is_duplicate: Tensor, threshold: int, ax: Axes | None = None
) -> Axes:
    """Draw how many bits new images and duplicates differ from the closest training image.

    Parameters
    ----------
    bits : Tensor
        Shape (N,), int: bits that differ.
    is_duplicate : Tensor
        Shape (N,), bool.
    threshold : int
        Up to so many bits, an image is called a duplicate.
    ax : Axes, optional
        Where to draw.

    Examples
    --------
    >>> ax = plot_distances(torch.tensor([1, 9, 12]), torch.tensor([True, False, False]), 8)
    >>> int(sum(bar.get_height() for bar in ax.patches))
    3
    """
    ax = plt.subplots(figsize=(9, 3.6))[1] if ax is None else ax
    groups = [bits[is_duplicate].tolist(), bits[~is_duplicate].tolist()]
    labels, colors = ["planted duplicates", "new images"], [COLORS[1], COLORS[0]]
    edges = np.arange(int(bits.max()) + 2) - 0.5
    ax.hist(groups, edges.tolist(), stacked=True, label=labels, color=colors, ec="white")
    ax.axvline(threshold + 0.5, color="black", ls=":", label="threshold")
    ax.set(xlabel="bits that differ from the closest training image", ylabel="test images")
    ax.legend()
    return ax
