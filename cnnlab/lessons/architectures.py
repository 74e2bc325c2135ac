"""Lesson 02: a ledger of fifteen famous networks.

:func:`model_ledger` counts what they cost; :func:`plot_accuracy_against_macs` and
:func:`plot_parameters_over_years` draw it. What was published, and why it differs, stands in
``data/published/architectures.csv`` and, folded, in the lesson.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from cnnlab.complexity import count_macs
from cnnlab.data.downloads import packaged
from cnnlab.lessons.labels import place_labels
from cnnlab.models.zoo import build, trained
from cnnlab.plotting import COLORS, styled

__all__ = [
    "Architecture",
    "model_ledger",
    "plot_accuracy_against_macs",
    "plot_parameters_over_years",
]


@dataclass(frozen=True)
class Architecture:
    """One row of the ledger: what was counted on the network itself.

    Attributes
    ----------
    name, year, family, model : str, int, str, str
        The year is that of the first publication; ``model`` says who builds it.
    input_size : tuple of int
        (C, H, W), the paper's.
    parameters, auxiliary : int
        Without auxiliary heads, and in those heads; each tensor counts once.
    gmacs : float
        Billions of multiply-adds for one image.
    weights : dict
        Name of the trained weights -> their top-1 accuracy in per cent, the oldest first.
    """

    name: str
    year: int
    family: str
    model: str
    input_size: tuple[int, ...]
    parameters: int
    auxiliary: int
    gmacs: float
    weights: dict[str, float]

    @property
    def top1(self) -> float | None:
        """Top-1 accuracy of the oldest weights, in per cent; None if there are none."""
        return next(iter(self.weights.values()), None)


def model_ledger() -> list[Architecture]:
    """Count parameters and multiply-adds of fifteen well-known networks.

    Nothing is typed in: the networks are built without numbers (on PyTorch's meta device) and
    counted.
    """
    return [_row(record) for record in _read("architectures.csv")]


def _read(name: str) -> list[dict[str, str]]:
    with packaged("published", name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _row(record: dict[str, str]) -> Architecture:
    size = tuple(map(int, record["input_size"].split("×")))
    model = build(record["model"])
    heads = [head for name, head in model.named_children() if name.lower().startswith("aux")]
    auxiliary = sum(p.numel() for head in heads for p in head.parameters())
    weights = {record["weights"]: float(record["weights_top1"])} if record["weights"] else {}
    return Architecture(
        name=record["name"],
        year=int(record["year"]),
        family=record["family"],
        model=record["model"],
        input_size=size,
        parameters=sum(p.numel() for p in model.parameters()) - auxiliary,
        auxiliary=auxiliary,
        gmacs=count_macs(model, size) / 1e9,
        weights=weights or dict(trained(record["model"])),
    )


@styled()
def plot_accuracy_against_macs(ledger: Sequence[Architecture], ax: Axes | None = None) -> Axes:
    """Draw top-1 accuracy on ImageNet against multiply-adds; areas show parameters.

    Parameters
    ----------
    ledger : sequence of Architecture
        From ``model_ledger``; rows without accuracy are left out.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    ValueError
        If no row is left.
    """
    rows = {row.name: row for row in ledger if row.top1}
    if not rows:
        raise ValueError("no row has an accuracy")
    ax = plt.subplots(figsize=(10, 5.6))[1] if ax is None else ax
    areas = {name: 8 * row.parameters / 1e6 for name, row in rows.items()}  # points²
    points = {name: (row.gmacs, row.top1 or 0) for name, row in rows.items()}
    colors = [COLORS[0] if row.family == "CNN" else COLORS[1] for row in rows.values()]
    look: dict[str, Any] = {"alpha": 0.6, "edgecolors": "black", "linewidths": 0.8}
    x, y = zip(*points.values(), strict=True)
    ax.scatter(x, y, s=list(areas.values()), c=colors, **look)
    for millions in (5, 25, 100):
        ax.scatter([], [], s=8 * millions, c="lightgray", label=f"{millions} M", **look)
    for color, label in ((COLORS[0], "CNN"), (COLORS[1], "transformer")):
        ax.scatter([], [], s=70, c=color, label=label, **look)
    ax.legend(loc="lower right", title="area: parameters", labelspacing=0.8)
    ax.set_xscale("log")
    ticks = [0.25, 0.5, 1, 2, 4, 8, 16]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    ax.set(xlabel="multiply-adds for one image (billions)", ylabel="top-1 accuracy (%)")
    ax.set(xlim=(0.2, 32))
    ax.margins(y=0.15)
    place_labels(ax, points, {name: np.sqrt(area / np.pi) for name, area in areas.items()})
    return ax


@styled()
def plot_parameters_over_years(ax: Axes | None = None) -> Axes:
    """Draw published numbers of parameters over the years, CNNs apart from other networks.

    Sizes that were never published are left out; where there is a rumor, a note below says so.
    The numbers and their sources are in ``data/published/model_sizes.csv``.

    Parameters
    ----------
    ax : Axes, optional
        Where to draw.
    """
    records = _read("model_sizes.csv")
    ax = plt.subplots(figsize=(10, 5.6))[1] if ax is None else ax
    kinds = {
        "yes": ("CNN", "o", COLORS[0]),
        "partly": ("CNN and attention", "D", COLORS[2]),
        "no": ("not a CNN (attention)", "s", COLORS[1]),
    }
    points: dict[str, tuple[float, float]] = {}
    for kind, (label, marker, color) in kinds.items():
        chosen = [r for r in records if r["is_cnn"] == kind and r["parameters"]]
        own = {r["name"]: (float(r["year"]), float(r["parameters"])) for r in chosen}
        ax.plot(*zip(*own.values(), strict=True), marker, color=color, label=label, ms=8)
        points |= own
    ax.set_yscale("log")
    ax.set(xlabel="year of publication", ylabel="parameters", ylim=(1e4, 2e13))
    ax.set_xlim(1997, 2028.5)
    ax.set_xticks(range(2000, 2026, 5))
    ax.legend(loc="upper left")
    rumors = [f"{r['name']}: {r['note']}." for r in records if not r["parameters"]]
    note = ax.text(0.01, 0.02, "\n".join(rumors), transform=ax.transAxes)
    note.set(fontsize=11, style="italic")
    place_labels(ax, points)
    return ax
