"""Lesson 01: cards of well-known datasets, and figures of their sizes and classes.

:func:`read_cards` reads ``data/published/datasets.csv``, a card for each dataset, and
:func:`plot_datasets` draws their sizes. :func:`plot_classes` shows an image of each class.
"""

from __future__ import annotations

import csv
import textwrap
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter

from cnnlab.data.downloads import packaged
from cnnlab.data.splits import ImageData
from cnnlab.lessons.labels import place_labels
from cnnlab.plotting import COLORS, show_images, styled

__all__ = ["DatasetCard", "plot_classes", "plot_datasets", "read_cards"]


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
            "note": textwrap.fill(
                self.note, 88, initial_indent=" " * 12, subsequent_indent=" " * 12
            )[12:],
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
def plot_classes(data: ImageData, most: int = 20, ax: Axes | None = None) -> Axes:
    """Show the first training image of each class, with the name of the class.

    Parameters
    ----------
    data : ImageData
        Every class has a training image.
    most : int
        Number of classes to show at most.
    ax : Axes, optional
        Where to draw.

    Examples
    --------
    >>> from cnnlab.data.datasets import load_mnist
    >>> ax = plot_classes(load_mnist("digits"), most=3)
    Data: scikit-learn's 1,797 handwritten digits.
    >>> [text.get_text() for text in ax.texts]
    ['0', '1', '2']
    """
    labels = data.train.labels.tolist()
    first = [labels.index(label) for label in range(len(data.classes))][:most]
    names = [name.replace("_", "\n") for name in data.classes[:most]]
    return show_images(data.train.inputs[first], names, columns=10, ax=ax)
