"""Well-known image datasets, a card each: drawn from ``data/published/datasets.csv``."""

from __future__ import annotations

import csv
import textwrap
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from cnnlab.places import packaged
from cnnlab.style import COLOURS, styled

__all__ = ["DatasetCard", "dataset_cards", "plot_datasets"]

Point = tuple[int, int]  # images, pixels an image
UNITS = {10**12: "TB", 10**9: "GB", 10**6: "MB"}


@dataclass(frozen=True)
class DatasetCard:
    """What one should know of a dataset before using it.

    Attributes
    ----------
    train, val, test : int or None
        Images in each split; None where there is none.
    height, width : int
        Pixels; of a usual picture where ``sizes`` is "varied", else of all.
    bytes : int or None
        Of the files to download, None if unknown.
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
    licence: str
    source: str
    note: str

    @property
    def images(self) -> int:
        """Images in all splits together."""
        return self.train + (self.val or 0) + (self.test or 0)

    @property
    def size(self) -> str:
        """The download in MB, GB or TB (powers of ten)."""
        if self.bytes is None:
            return "unknown"
        unit = next(unit for unit in UNITS if self.bytes >= unit)
        return f"{self.bytes / unit:.3g} {UNITS[unit]}"

    def __str__(self) -> str:
        splits = {"train": self.train, "validation": self.val, "test": self.test}
        counts = [f"{number:,} {name}" for name, number in splits.items() if number]
        about = "about " if self.sizes == "varied" else ""
        colour = "grey" if self.channels == 1 else "colour"
        lines = {
            "task": self.task,
            "images": " + ".join(counts) if counts[1:] else f"{self.train:,}, not split",
            "classes": f"{self.classes:,}",
            "pixels": f"{about}{self.height} × {self.width}, {colour}",
            "download": self.size,
            "licence": self.licence,
            "source": self.source,
            "note": textwrap.fill(self.note, 76, subsequent_indent=" " * 12),
        }
        rows = [f"  {name:<9} {text}" for name, text in lines.items()]
        return "\n".join([f"{self.name} ({self.year})", *rows])


def dataset_cards() -> dict[str, DatasetCard]:
    """Return the cards by name, in the order of the file.

    Examples
    --------
    >>> dataset_cards()["CIFAR-10"].classes
    10
    """
    with packaged("published", "datasets.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = {"name", "task", "sizes", "licence", "source", "note"}
    cards: list[dict[str, Any]] = [
        {k: v if k in texts else int(v) if v else None for k, v in row.items()} for row in rows
    ]
    return {row["name"]: DatasetCard(**card) for row, card in zip(rows, cards, strict=True)}


def plot_datasets(cards: dict[str, DatasetCard], ax: Axes | None = None) -> Axes:
    """Draw images against pixels an image, both on a log scale; diagonals have equal totals.

    Parameters
    ----------
    cards : dict
        From :func:`dataset_cards`. Datasets of one size share a point.
    ax : Axes, optional
        Where to draw.

    Examples
    --------
    >>> ax = plot_datasets(dataset_cards())
    >>> "MNIST, Fashion-MNIST" in [text.get_text() for text in ax.texts]
    True
    """
    groups: dict[Point, list[DatasetCard]] = defaultdict(list)
    for card in cards.values():
        groups[card.images, card.height * card.width].append(card)
    with styled():
        ax = ax if ax is not None else plt.subplots(figsize=(10, 4.8))[1]
        for exponent in range(8, 14):
            total = 10.0**exponent
            x = np.array([3e3, 1e8])
            ax.plot(x, total / x, color="lightgrey", lw=1, zorder=0)
            end = min(8e7, total / 240)  # where the line leaves the picture
            ax.text(end, total / end, f"$10^{{{exponent}}}$ pixels", color="dimgrey", size=11,
                    rotation=-27, rotation_mode="anchor", ha="right", va="bottom")  # fmt: skip
        for point, members in groups.items():
            only_classes = members[0].task == "classification"
            ax.plot(*point, "o", color=COLOURS[0 if only_classes else 1], ms=10)
            names = ", ".join(card.name for card in members)
            ax.annotate(names, point, textcoords="offset points", **_placement(point, list(groups)))
        for colour, task in zip(
            COLOURS, ("classification", "also boxes or outlines"), strict=False
        ):
            ax.plot([], [], "o", color=colour, ms=10, label=task)
        ax.legend(loc="upper left")
        ax.set(xscale="log", yscale="log", xlim=(3e3, 1e8), ylim=(2e2, 3e6))
        ax.set(xlabel="images", ylabel="pixels an image")
    return ax


def _placement(point: Point, points: list[Point]) -> dict[str, Any]:
    """Say where a point's name has room: above it, or away from neighbours of about its size."""
    near = [
        other for other in points
        if other != point and all(0.5 < a / b < 2 for a, b in zip(point, other, strict=True))
    ]  # fmt: skip
    if not near:
        return {"xytext": (0, 9), "ha": "center", "va": "bottom"}
    if point[0] > max(other[0] for other in near):
        return {"xytext": (10, 0), "ha": "left", "va": "center"}
    lower = point[1] < max(other[1] for other in near)
    return {"xytext": (-9, -1 if lower else 1), "ha": "right", "va": "top" if lower else "bottom"}
