"""The ledger of architectures: what they cost, recomputed, beside what was published."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.complexity import count_macs
from cnnlab.data.downloads import packaged
from cnnlab.data.splits import ImageData, Split
from cnnlab.diagrams import Node, trace
from cnnlab.evaluation import Evaluation, evaluate
from cnnlab.fields import receptive_field
from cnnlab.lessons.blocks import DenseBlock, Inception, auxiliary_head, conv
from cnnlab.models.small import BasicBlock
from cnnlab.models.zoo import build, trained
from cnnlab.plotting import COLORS, styled
from cnnlab.training import fit

__all__ = [
    "Architecture",
    "DeepStack",
    "FAMILIES",
    "Lap",
    "Ledger",
    "Published",
    "assemble",
    "compare_costs",
    "first_steps",
    "model_ledger",
    "plot_accuracy_against_macs",
    "plot_gradient_norms",
    "plot_parameters_over_years",
    "plot_race",
    "race",
    "shrink",
    "standings",
    "width_for",
]

_LAYERS = {"convolution": 1, "fully connected": 1, "attention": 2}  # attention projects twice


@dataclass(frozen=True)
class Published:
    """What a paper says; None where it says nothing.

    Attributes
    ----------
    parameters, gmacs, top1, depth : number or None
        Weights, billions of multiply-adds, top-1 accuracy in per cent, layers.
    top1_setting : str
        How the accuracy was measured.
    source : str
        Paper and year.
    """

    parameters: int | None
    gmacs: float | None
    top1: float | None
    depth: int | None
    top1_setting: str
    source: str


@dataclass(frozen=True)
class Architecture:
    """One row of the ledger: counted on the network itself, beside the published numbers.

    Attributes
    ----------
    name, year, family, model : str, int, str, str
        The year is that of the first publication; ``model`` says who builds it.
    input_size : tuple of int
        (C, H, W), the paper's.
    parameters, auxiliary : int or None
        Without auxiliary heads, and in those heads; each tensor counts once.
    gmacs : float or None
        Billions of multiply-adds for one picture.
    depth : int or None
        Layers with weights on the longest path.
    field_size : str
        Side of the receptive field before the last pooling in pixels, or "global".
    weights : dict
        Name of the trained weights to their top-1 accuracy in per cent, the oldest first.
    published : Published
        What the paper says.
    reasons : dict
        Column name to the reason why the two differ.
    note : str
        Why nothing could be counted, if so.
    """

    name: str
    year: int
    family: str
    model: str
    input_size: tuple[int, ...]
    published: Published
    reasons: dict[str, str]
    parameters: int | None = None
    auxiliary: int = 0
    gmacs: float | None = None
    depth: int | None = None
    field_size: str = ""
    weights: dict[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def top1(self) -> float | None:
        """Top-1 accuracy of the oldest weights, in per cent; None if there are none."""
        return next(iter(self.weights.values()), None)


class Ledger(list[Architecture]):
    """Rows that print as a table: counted, and in brackets what was published."""

    def __str__(self) -> str:
        head = (
            "network",
            "year",
            "parameters (M)",
            "GMACs",
            "depth",
            "field",
            "top-1 (%)",
            "weights",
        )
        rows = [head, *(_cells(row) for row in self)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(t.ljust(w) if i in (0, 7) else t.rjust(w) for i, (t, w) in cells).rstrip()
            for cells in (enumerate(zip(row, widths, strict=True)) for row in rows)
        ]
        legend = "counted (published); a sum: network + auxiliary heads"
        return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:], legend])

    def differences(self) -> str:
        """Say for each number that is not the published one why; equal reasons share a line."""
        where: dict[str, list[str]] = {}
        for row in self:
            for column, reason in row.reasons.items():
                where.setdefault(reason, []).append(f"{row.name} {column}")
        lines = (f"{', '.join(places)}: {reason}" for reason, places in where.items())
        return "\n".join(textwrap.fill(line, 88, subsequent_indent="  ") for line in lines)


def _cells(row: Architecture) -> tuple[str, ...]:
    said = row.published
    parameters = _both(row.parameters, said.parameters, 1e6)
    if row.auxiliary and row.parameters:
        parameters = parameters.replace(" ", f"+{row.auxiliary / 1e6:.2f} ", 1)
    return (
        row.name,
        str(row.year),
        parameters,
        _both(row.gmacs, said.gmacs),
        f"{row.depth or '?'}" + (f" ({said.depth})" if said.depth else ""),
        row.field_size or "?",
        _both(row.top1, said.top1),
        next(iter(row.weights), "").split(".")[-1] or row.note,
    )


def _both(counted: float | None, said: float | None, unit: float = 1) -> str:
    """Write a number with three digits that count, and the published one in brackets."""

    def written(value: float | None) -> str:
        if value is None:
            return "?"
        value /= unit
        return f"{value:.4f}" if value < 0.1 else f"{value:.2f}"

    return written(counted) + (" (–)" if said is None else f" ({written(said)})")


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
    with packaged("published", "architectures.csv").open(encoding="utf-8", newline="") as file:
        records = {record["name"]: record for record in csv.DictReader(file)}
    unknown = set(names or ()) - records.keys()
    if unknown:
        known = ", ".join(records)
        raise ValueError(f"no such network: {', '.join(sorted(unknown))}; there are {known}")
    return Ledger(_row(records[name]) for name in names or records)


def _row(record: dict[str, str]) -> Architecture:
    size = tuple(map(int, record["input_size"].split("×")))
    said = Published(
        int(record["parameters"]) if record["parameters"] else None,
        float(record["gmacs"]) if record["gmacs"] else None,
        float(record["top1"]) if record["top1"] else None,
        int(record["depth"]) if record["depth"] else None,
        record["top1_setting"],
        record["source"],
    )
    columns = {"parameters": "parameters_reason", "GMACs": "macs_reason", "top-1": "top1_reason"}
    reasons = {column: record[key] for column, key in columns.items() if record[key]}
    known = (record["name"], int(record["year"]), record["family"], record["model"], size)
    if record["model"].startswith("timm/") and importlib.util.find_spec("timm") is None:
        return Architecture(*known, said, reasons, note='needs timm: pip install "cnnlab[zoo]"')
    model = build(record["model"])
    heads = [m for name, m in model.named_children() if name.lower().startswith("aux")]
    extra = sum(p.numel() for head in heads for p in head.parameters())
    weights = {record["weights"]: float(record["weights_top1"])} if record["weights"] else {}
    return Architecture(
        *known,
        said,
        reasons,
        parameters=sum(p.numel() for p in model.parameters()) - extra,
        auxiliary=extra,
        gmacs=count_macs(model, size) / 1e9,
        depth=max(trace(model, size, depth=99).longest_path(_layers).values()),
        field_size=_field(model, size),
        weights=weights or dict(trained(record["model"])),
    )


def _layers(node: Node) -> int:
    return _LAYERS.get(node.kind, 0)


def _field(model: nn.Module, size: tuple[int, ...]) -> str:
    """Return the field of the last map that still has more than one position."""
    fields = receptive_field(model, (size[0], size[1], size[2]))
    # (C, H, W) or (H, W, C): a map has more than one position if two of its sides are above 1
    maps = [f for f in fields.values() if len(f.shape) > 1 and sorted(f.shape)[-2] > 1]
    return "global" if maps[-1].is_global else str(maps[-1].size[0])


TEXT = 11  # points
_KINDS = {"yes": "CNN", "partly": "CNN and attention", "no": "not a CNN (attention)"}


def plot_parameters_over_years(ax: Axes | None = None) -> Axes:
    """Draw published numbers of parameters over the years, CNNs apart from other networks.

    Sizes that were never published are left out; where there is a rumor, a note below says so.
    The numbers and their sources are in ``data/published/model_sizes.csv``.

    Parameters
    ----------
    ax : Axes, optional
        Where to draw.
    """
    with packaged("published", "model_sizes.csv").open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    known = [record for record in records if record["parameters"]]
    with styled():
        ax = plt.subplots(figsize=(10, 5.6))[1] if ax is None else ax
        for (kind, label), marker, color in zip(
            _KINDS.items(), "oDs", (COLORS[0], COLORS[2], COLORS[1]), strict=True
        ):
            chosen = [record for record in known if record["is_cnn"] == kind]
            x = [int(record["year"]) for record in chosen]
            y = [int(record["parameters"]) for record in chosen]
            ax.plot(x, y, marker, color=color, label=label, ms=8)
        ax.set_yscale("log")
        ax.set(xlabel="year of publication", ylabel="parameters", ylim=(1e4, 2e13))
        ax.set_xlim(1997, 2028.5)
        ax.set_xticks(range(2000, 2026, 5))
        ax.legend(loc="upper left")
        rumors = [f"{r['name']}: {r['note']}." for r in records if not r["parameters"]]
        ax.text(
            0.01, 0.02, "\n".join(rumors), transform=ax.transAxes, fontsize=TEXT, style="italic"
        )
        places = [(float(r["year"]), float(r["parameters"])) for r in known]
        _label(ax, places, [r["name"] for r in known], [5] * len(known))
    return ax


def plot_accuracy_against_macs(ledger: Sequence[Architecture], ax: Axes | None = None) -> Axes:
    """Draw top-1 accuracy on ImageNet against multiply-adds; areas show parameters.

    Parameters
    ----------
    ledger : sequence of Architecture
        From ``model_ledger``; rows without accuracy or multiply-adds are left out.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    ValueError
        If no row is left.
    """
    rows = [row for row in ledger if row.top1 and row.gmacs and row.parameters]
    if not rows:
        raise ValueError("no row has both an accuracy and multiply-adds")
    with styled():
        ax = plt.subplots(figsize=(10, 5.6))[1] if ax is None else ax
        sizes = [8 * (row.parameters or 0) / 1e6 for row in rows]  # points² for a million
        colors = [COLORS[0] if row.family == "CNN" else COLORS[1] for row in rows]
        x, y = [row.gmacs or 0 for row in rows], [row.top1 or 0 for row in rows]
        ax.scatter(x, y, s=sizes, c=colors, alpha=0.6, edgecolors="black", linewidths=0.8)
        ax.set_xscale("log")
        ticks = [0.25, 0.5, 1, 2, 4, 8, 16]
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
        ax.set(xlabel="multiply-adds for one picture (billions)", ylabel="top-1 accuracy (%)")
        ax.set(xlim=(0.2, 32), ylim=(min(y) - 4, max(y) + 4))
        handles = [
            ax.scatter(
                [], [], s=8 * millions, c="lightgray", edgecolors="black", label=f"{millions} M"
            )
            for millions in (5, 25, 100)
        ]
        handles += [
            ax.scatter([], [], s=70, c=color, alpha=0.6, edgecolors="black", label=label)
            for color, label in ((COLORS[0], "CNN"), (COLORS[1], "transformer"))
        ]
        ax.legend(handles=handles, loc="lower right", title="area: parameters", labelspacing=0.8)
        radii = [np.sqrt(size / np.pi) for size in sizes]
        _label(ax, list(zip(x, y, strict=True)), [row.name for row in rows], radii)
    return ax


def _label(
    ax: Axes, points: list[tuple[float, float]], names: list[str], radii: Sequence[float]
) -> None:
    """Write each name beside its point, where it covers no other name and no other point."""
    figure = ax.get_figure()
    figure.draw_without_rendering()  # type: ignore[union-attr]  # now places in pixels are known
    scale = ax.figure.dpi / 72
    centers = ax.transData.transform(points)
    taken = [
        Bbox.from_bounds(x - r * scale, y - r * scale, 2 * r * scale, 2 * r * scale)
        for (x, y), r in zip(centers, radii, strict=True)
    ]
    taken += [text.get_window_extent() for text in [*ax.texts, ax.get_legend()] if text]
    for point, name, r in sorted(zip(points, names, radii, strict=True), key=lambda t: t[0][1]):
        best, least = None, float("inf")
        for steps in (1, 2, 3, 4):  # further away if there is no place close by
            for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)):
                far = r + 3 + 13 * (steps - 1)
                text = ax.annotate(
                    name, point, (dx * far, dy * far), textcoords="offset points", fontsize=TEXT,
                    ha=("center", "left", "right")[dx], va=("center", "bottom", "top")[dy],
                    arrowprops={"arrowstyle": "-", "color": "gray"} if steps > 1 else None,
                )  # fmt: skip
                box = text.get_window_extent()
                inside = ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1
                crossed = sum(box.overlaps(other) for other in taken) + 100 * (not inside)
                if crossed < least:
                    if best is not None:
                        best.remove()
                    best, least = text, crossed
                else:
                    text.remove()
                if not least:
                    break
            if not least:
                break
        assert best is not None
        taken.append(best.get_window_extent())


Block = Callable[[int, int], nn.Module]


class DeepStack(nn.Module):
    """Twenty layers with weights, plain or with a shortcut around every two.

    Parameters
    ----------
    shortcuts : bool
        Add the input of every two layers to their output.
    normalized : bool
        Batch normalization after every convolution.
    helped : bool
        Classify half-way too: the model returns a pair of logits while it is trained.
    pairs, channels, num_classes : int
        2 · pairs + 2 layers, all of the same width.

    Examples
    --------
    >>> DeepStack(shortcuts=True)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self, shortcuts: bool, normalized: bool = False, helped: bool = False, pairs: int = 9,
        channels: int = 16, num_classes: int = 10,
    ) -> None:  # fmt: skip
        super().__init__()
        self.shortcuts = shortcuts

        def layer() -> nn.Sequential:
            norm = nn.BatchNorm2d(channels) if normalized else nn.Identity()
            return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), norm)

        self.stem = nn.Conv2d(1, channels, 5, stride=2, padding=2)
        self.pairs = nn.ModuleList(nn.Sequential(layer(), nn.ReLU(), layer()) for _ in range(pairs))
        self.fc = nn.Linear(channels, num_classes)
        self.helper = auxiliary_head(channels, num_classes) if helped else None

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Map images (B, 1, H, W) to logits (B, num_classes)."""
        x, half_way = F.relu(self.stem(x)), None
        for i, pair in enumerate(self.pairs, start=1):
            x = F.relu(x + pair(x) if self.shortcuts else pair(x))
            if self.helper is not None and self.training and i == len(self.pairs) // 2:
                half_way = self.helper(x)
        logits = self.fc(x.mean(dim=(2, 3)))
        return logits if half_way is None else (logits, half_way)


def first_steps(
    model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]], lr: float = 0.05
) -> tuple[list[float], list[float]]:
    """Train for a few steps; return the loss of each, and the first step's gradients by depth.

    Parameters
    ----------
    model : nn.Module
        Maps X (B, C, H, W) to logits, or to two of them: then 0.3 times the loss of the second is
        added, as Szegedy et al. (2015) did.
    batches : sequence of (X, y)
        One step each.
    lr : float
        Learning rate of plain gradient descent with momentum 0.9.

    Returns
    -------
    losses : list of float
    norms : list of float
        Length of the gradient of each layer's weights, from the input to the output.

    Examples
    --------
    >>> batch = (torch.rand(8, 1, 28, 28), torch.arange(8))
    >>> losses, norms = first_steps(DeepStack(shortcuts=True), [batch, batch])
    >>> len(losses), len(norms)
    (2, 20)
    """
    weights = [p for n, p in model.named_parameters() if p.ndim > 1 and "helper" not in n]
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    losses: list[float] = []
    norms: list[float] = []
    model.train()
    for X, y in batches:
        logits, *helpers = (out,) if isinstance(out := model(X), Tensor) else out
        loss = F.cross_entropy(logits, y) + 0.3 * sum(F.cross_entropy(h, y) for h in helpers)
        optimizer.zero_grad()
        loss.backward()
        norms = norms or [float(w.grad.norm()) for w in weights if w.grad is not None]
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, norms


def plain(in_channels: int, out_channels: int) -> nn.Sequential:
    """Two 3×3 convolutions, as in VGG."""
    return nn.Sequential(conv(in_channels, out_channels), conv(out_channels, out_channels))


FAMILIES: dict[str, Block] = {
    "plain (VGG)": plain,
    "branches (Inception)": Inception,
    "shortcuts (ResNet)": BasicBlock,
    "everything kept (DenseNet)": DenseBlock,
}


def assemble(block: Block, width: int, num_classes: int = 10) -> nn.Sequential:
    """Put three blocks between the same stem and the same head; each doubles the channels.

    Parameters
    ----------
    block : callable
        Maps (in_channels, out_channels) to a module that keeps height and width.
    width : int
        Channels after the stem.

    Examples
    --------
    >>> assemble(Inception, 16)(torch.zeros(1, 1, 16, 16)).shape
    torch.Size([1, 10])
    """
    return nn.Sequential(
        conv(1, width, 5, stride=2),  # (B, width, H/2, W/2)
        block(width, 2 * width),
        nn.MaxPool2d(2),
        block(2 * width, 4 * width),
        nn.MaxPool2d(2),
        block(4 * width, 8 * width),  # (B, 8·width, H/8, W/8)
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8 * width, num_classes),
    )


def width_for(block: Block, budget: int) -> int:
    """Return the width that brings :func:`assemble` closest to a number of parameters.

    Examples
    --------
    >>> width_for(plain, 250_000)
    15
    """
    sizes = {}
    for width in range(4, 80):
        with torch.device("meta"), contextlib.suppress(ValueError):  # not every width divides
            sizes[width] = sum(p.numel() for p in assemble(block, width).parameters())
    return min(sizes, key=lambda width: abs(sizes[width] - budget))


def shrink(data: ImageData, side: int) -> ImageData:
    """Return the same pictures (N, C, H, W) scaled down to a side of so many pixels.

    Examples
    --------
    >>> from cnnlab import load_mnist
    >>> shrink(load_mnist("digits", limit=100), side=16).train.inputs.shape
    Data: scikit-learn's 1,797 handwritten digits.
    torch.Size([100, 1, 16, 16])
    """

    def small(split: Split) -> Split:
        inputs = F.interpolate(split.inputs.float(), (side, side), mode="area")
        return Split(inputs.round().to(split.inputs.dtype), split.labels)

    return replace(data, train=small(data.train), val=small(data.val), test=small(data.test))


@dataclass(frozen=True)
class Lap:
    """One training in the race: which family, its size, and how it ended on unseen pictures."""

    family: str
    parameters: int
    seconds: float
    result: Evaluation


def race(
    data: ImageData, *, budget: int, epochs: int, seeds: Sequence[int], lr: float = 4e-3
) -> list[Lap]:
    """Train every family with the same number of parameters on the same pictures.

    Parameters
    ----------
    data : ImageData
        Trained on ``train``, compared on ``val``; ``test`` is not touched.
    budget : int
        Parameters of each network, about.
    epochs : int
        The same for all.
    seeds : sequence of int
        One training each.

    Examples
    --------
    >>> from cnnlab import load_mnist
    >>> data = shrink(load_mnist("digits", limit=100), side=8)
    Data: scikit-learn's 1,797 handwritten digits.
    >>> laps = race(data, budget=5_000, epochs=1, seeds=[0])
    >>> len(laps) == len(FAMILIES)
    True
    """
    laps = []
    for family, block in FAMILIES.items():
        width = width_for(block, budget)
        for seed in seeds:
            torch.manual_seed(seed)
            model = assemble(block, width, len(data.classes))
            loaders = data.loaders(batch_size=64, seed=seed)
            optimizer = torch.optim.AdamW(model.parameters(), lr=lr, fused=True)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
            with contextlib.redirect_stdout(io.StringIO()):  # many trainings: no bar for each
                history = fit(
                    model, loaders.train, epochs=epochs, optimizer=optimizer, scheduler=schedule
                )
            size = sum(p.numel() for p in model.parameters())
            laps.append(Lap(family, size, history.seconds, evaluate(model, loaders.val)))
    return laps


def standings(laps: Sequence[Lap]) -> str:
    """Return a line for each family: its size, mean accuracy and deviation over the seeds.

    Examples
    --------
    >>> result = Evaluation(0.5, torch.tensor([0, 1]), torch.tensor([0, 0]), torch.eye(2))
    >>> print(standings([Lap("plain", 5_000, 1.0, result)] * 2))
    plain                         5,000 parameters: 50.0% ± 0.0%
    """
    lines = []
    for family in dict.fromkeys(lap.family for lap in laps):
        own = [lap for lap in laps if lap.family == family]
        right = np.array([lap.result.accuracy for lap in own])
        spread = right.std(ddof=1) if len(own) > 1 else np.nan
        size = f"{own[0].parameters:>8,} parameters"
        lines.append(f"{family:<27}{size}: {right.mean():.1%} ± {spread:.1%}")
    return "\n".join(lines)


def plot_gradient_norms(norms: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Axes:
    """Draw the length of the gradient of each layer, from the input to the output.

    Parameters
    ----------
    norms : mapping
        Name of a network to the norms of its layers, as :func:`first_steps` returns them.
    ax : Axes, optional
        Where to draw.
    """
    with styled():
        ax = plt.subplots(figsize=(8, 4))[1] if ax is None else ax
        for (name, values), color, marker in zip(norms.items(), COLORS, "os^D", strict=False):
            ax.plot(range(1, len(values) + 1), values, color=color, marker=marker, label=name)
        longest = max(map(len, norms.values()))
        ax.set_yscale("log")
        ax.set_xticks([1, *range(5, longest + 1, 5)])
        ax.set(xlabel="layer, from input to output", ylabel="length of its gradient")
        ax.legend(loc="lower right")
    return ax


def plot_race(laps: Sequence[Lap], ax: Axes | None = None) -> Axes:
    """Draw each training's accuracy as a dot, and each family's mean as a line.

    Parameters
    ----------
    laps : sequence of Lap
        From :func:`race`.
    ax : Axes, optional
        Where to draw.
    """
    families = list(dict.fromkeys(lap.family for lap in laps))
    with styled():
        ax = plt.subplots(figsize=(8, 0.8 + 0.6 * len(families)))[1] if ax is None else ax
        for row, (family, color) in enumerate(zip(families, COLORS, strict=False)):
            values = [100 * lap.result.accuracy for lap in laps if lap.family == family]
            heights = row + np.linspace(-0.2, 0.2, len(values))  # so that no dot hides another
            ax.plot(values, heights, "o", color=color, ms=8)
            ax.vlines(np.mean(values), row - 0.3, row + 0.3, color=color, linewidth=3)
        ax.set_yticks(range(len(families)), families)
        ax.set(ylim=(len(families) - 0.5, -0.5), xlabel="accuracy on the validation digits (%)")
    return ax


def compare_costs(blocks: Mapping[str, nn.Module], input_size: tuple[int, int, int]) -> str:
    """Return a table: parameters, multiply-adds and field of each block, beside the first one.

    Parameters
    ----------
    blocks : mapping
        Name to module; all take the same input.
    input_size : tuple of int
        (channels, height, width).

    Examples
    --------
    >>> from cnnlab.lessons.blocks import conv, small_kernels
    >>> print(compare_costs({"7×7": conv(8, 8, 7), "three 3×3": small_kernels(8)}, (8, 14, 14)))
                 parameters  of the first  million MACs  field
    7×7               3,152          100%          0.61      7
    three 3×3         1,776           56%          0.34      7
    """
    width = max(10, *map(len, blocks))
    lines = [f"{'':<{width}}  parameters  of the first  million MACs  field"]
    first = 0
    for name, block in blocks.items():
        count = sum(p.numel() for p in block.parameters())
        first = first or count
        (field,) = list(receptive_field(block, input_size).values())[-1:]
        side = "all" if field.is_global else str(field.size[-1])
        macs = count_macs(block, input_size) / 1e6
        lines.append(f"{name:<{width}} {count:>11,} {count / first:>13.0%} {macs:>13.2f} {side:>6}")
    return "\n".join(lines)
