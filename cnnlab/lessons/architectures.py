"""Lesson 02: a network of twenty layers, and a ledger of fifteen famous ones.

:class:`DeepStack` shows what depth does to gradients. :func:`model_ledger` counts what the famous
networks cost, beside what was published; :func:`plot_accuracy_against_macs` and
:func:`plot_parameters_over_years` draw it.
"""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.complexity import count_macs
from cnnlab.data.downloads import packaged
from cnnlab.diagrams import Node, trace
from cnnlab.fields import receptive_field
from cnnlab.lessons.blocks import auxiliary_head
from cnnlab.lessons.labels import place_labels
from cnnlab.models.zoo import build, trained
from cnnlab.plotting import COLORS, styled
from cnnlab.runtime import format_table

__all__ = [
    "Architecture",
    "DeepStack",
    "Ledger",
    "model_ledger",
    "plot_accuracy_against_macs",
    "plot_gradient_norms",
    "plot_parameters_over_years",
]


# ------------------------------------------------------------------------- twenty layers


class DeepStack(nn.Module):
    """Twenty layers with weights, plain or with a residual connection around every two.

    Parameters
    ----------
    residual : bool
        Add the input of every two layers to their output.
    normalized : bool
        Batch normalization after every convolution.
    auxiliary : bool
        Classify half-way, too.
    pairs, channels, num_classes : int
        2 · pairs + 2 layers, all of the same width.

    Examples
    --------
    >>> import torch
    >>> (logits,) = DeepStack(residual=True)(torch.zeros(2, 1, 28, 28))
    >>> logits.shape
    torch.Size([2, 10])
    """

    def __init__(
        self, residual: bool = False, normalized: bool = False, auxiliary: bool = False,
        pairs: int = 9, channels: int = 16, num_classes: int = 10,
    ) -> None:  # fmt: skip
        super().__init__()
        self.residual = residual

        def layer() -> nn.Sequential:
            norm = nn.BatchNorm2d(channels) if normalized else nn.Identity()
            return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), norm)

        self.stem = nn.Conv2d(1, channels, 5, stride=2, padding=2)
        self.pairs = nn.ModuleList(nn.Sequential(layer(), nn.ReLU(), layer()) for _ in range(pairs))
        self.fc = nn.Linear(channels, num_classes)
        self.auxiliary = auxiliary_head(channels, num_classes) if auxiliary else None

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map images (B, 1, H, W) to a list: logits (B, K), and in training those half-way."""
        x, half_way = F.relu(self.stem(x)), []  # (B, channels, H/2, W/2)
        for i, pair in enumerate(self.pairs, start=1):
            x = F.relu(x + pair(x) if self.residual else pair(x))
            if self.auxiliary is not None and self.training and i == len(self.pairs) // 2:
                half_way.append(self.auxiliary(x))
        return [self.fc(x.mean(dim=(2, 3))), *half_way]


@styled()
def plot_gradient_norms(norms: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Axes:
    """Draw the length of the gradient of each layer, from the input to the output.

    Parameters
    ----------
    norms : mapping
        Name of a network -> the norms of its layers.
    ax : Axes, optional
        Where to draw.
    """
    ax = plt.subplots(figsize=(8, 4))[1] if ax is None else ax
    for (name, values), color, marker in zip(norms.items(), COLORS, "os^D", strict=False):
        ax.plot(range(1, len(values) + 1), values, color=color, marker=marker, label=name)
    longest = max(map(len, norms.values()))
    ax.set_yscale("log")
    ax.set_xticks([1, *range(5, longest + 1, 5)])
    ax.set(xlabel="layer, from input to output", ylabel="length of its gradient")
    ax.legend(loc="lower right")
    return ax


# ------------------------------------------------------------------------- the ledger

_LAYERS = {"convolution": 1, "fully connected": 1, "attention": 2}  # attention projects twice


@dataclass(frozen=True)
class Architecture:
    """One row of the ledger: counted on the network itself, beside the published numbers.

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
    depth : int
        Layers with weights on the longest path.
    field_size : str
        Side in pixels of the receptive field of the last map with more than one position, or
        "global".
    weights : dict
        Name of the trained weights -> their top-1 accuracy in per cent, the oldest first.
    published : dict
        What the paper says: "parameters", "gmacs", "top1" (in per cent) and "depth"; None where
        it says nothing.
    source : str
        The paper, with its year.
    reasons : dict
        Name of a column -> the reason why the two differ.
    """

    name: str
    year: int
    family: str
    model: str
    input_size: tuple[int, ...]
    parameters: int
    auxiliary: int
    gmacs: float
    depth: int
    field_size: str
    weights: dict[str, float]
    published: dict[str, float | None]
    source: str
    reasons: dict[str, str]

    @property
    def top1(self) -> float | None:
        """Top-1 accuracy of the oldest weights, in per cent; None if there are none."""
        return next(iter(self.weights.values()), None)


class Ledger(list[Architecture]):
    """Rows that print as a table: counted, and in brackets what was published."""

    def __str__(self) -> str:
        head = ("network", "year", "parameters (M)", "GMACs", "depth", "field", "top-1 (%)")
        rows = [(*_cells(row), next(iter(row.weights), "").split(".")[-1]) for row in self]
        table = format_table(rows, (*head, "weights"), align="<>>>>>><")
        return f"{table}\ncounted (published); a sum: network + auxiliary heads"

    def differences(self) -> str:
        """Say for each number that is not the published one why; equal reasons share a line."""
        places: dict[str, list[str]] = {}
        for row in self:
            for column, reason in row.reasons.items():
                places.setdefault(reason, []).append(f"{row.name} {column}")
        lines = (f"{', '.join(names)}: {reason}" for reason, names in places.items())
        return "\n".join(textwrap.fill(line, 88, subsequent_indent="  ") for line in lines)


def _cells(row: Architecture) -> tuple[str, ...]:
    said = row.published
    millions = _digits(row.parameters / 1e6)
    if row.auxiliary:
        millions += f"+{_digits(row.auxiliary / 1e6)}"
    said_millions = said["parameters"] and said["parameters"] / 1e6
    return (
        row.name,
        str(row.year),
        f"{millions} ({_digits(said_millions)})",
        f"{_digits(row.gmacs)} ({_digits(said['gmacs'])})",
        f"{row.depth} ({said['depth']:.0f})" if said["depth"] else str(row.depth),
        row.field_size,
        f"{_digits(row.top1)} ({_digits(said['top1'])})",
    )


def _digits(number: float | None) -> str:
    """Write a number with two decimals, a small one with four, an unknown one as a dash."""
    return "–" if number is None else f"{number:.4f}" if number < 0.1 else f"{number:.2f}"


def model_ledger(names: Sequence[str] | None = None) -> Ledger:
    """Count parameters, multiply-adds, depth and field of well-known networks.

    Nothing is typed in: the networks are built without numbers (on PyTorch's meta device) and
    counted. What was published stands beside it, from ``data/published/architectures.csv``.

    Parameters
    ----------
    names : sequence of str, optional
        Names as in the ledger, e.g. "ResNet-50"; all if None.

    Raises
    ------
    ValueError
        If a name is unknown; the message lists the names.

    Examples
    --------
    >>> (row,) = model_ledger(["AlexNet"])
    >>> row.parameters, round(row.gmacs, 3), row.depth, row.field_size
    (61100840, 0.714, 8, '195')
    """
    records = {record["name"]: record for record in _read("architectures.csv")}
    unknown = set(names or ()) - records.keys()
    if unknown:
        known = ", ".join(records)
        raise ValueError(f"no such network: {', '.join(sorted(unknown))}; there are {known}")
    return Ledger(_row(records[name]) for name in names or records)


def _read(name: str) -> list[dict[str, str]]:
    with packaged("published", name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _row(record: dict[str, str]) -> Architecture:
    size = tuple(map(int, record["input_size"].split("×")))
    columns = {"parameters": "parameters_reason", "GMACs": "macs_reason", "top-1": "top1_reason"}
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
        depth=max(trace(model, size, depth=99).longest_path(_layers).values()),
        field_size=_field(model, size),
        weights=weights or dict(trained(record["model"])),
        published={
            column: float(record[column]) if record[column] else None
            for column in ("parameters", "gmacs", "top1", "depth")
        },
        source=record["source"],
        reasons={column: record[key] for column, key in columns.items() if record[key]},
    )


def _layers(node: Node) -> int:
    return _LAYERS.get(node.kind, 0)


def _field(model: nn.Module, size: tuple[int, ...]) -> str:
    """Return the field of the last map that still has more than one position."""
    fields = receptive_field(model, (size[0], size[1], size[2]))
    # (C, H, W) or (H, W, C): a map has more than one position if two of its sides are above 1
    maps = [f for f in fields.values() if len(f.shape) > 1 and sorted(f.shape)[-2] > 1]
    return "global" if maps[-1].is_global else str(maps[-1].size[0])


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
