"""Figures of receptive fields: boxes on a picture, what a unit really uses, how fields grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.nn import functional as F

from cnnlab.fields import Box, ReceptiveFields, conv_size
from cnnlab.plotting import COLORS, styled

__all__ = [
    "Step",
    "plot_effective_fields",
    "plot_field_boxes",
    "plot_field_growth",
    "plot_field_tree",
]


def plot_field_boxes(image: Tensor, boxes: Mapping[str, Box], ax: Axes | None = None) -> Axes:
    """Draw boxes on a picture; where a box leaves the picture, it lies on the gray padding.

    Parameters
    ----------
    image : Tensor
        Shape (3, H, W), uint8 or floats in [0, 1].
    boxes : mapping
        Words for the legend -> box, from ``field.at(y, x, clipped=False)``.
    ax : Axes, optional
        Where to draw.
    """
    _, height, width = image.shape
    with styled():
        ax = ax or plt.subplots(figsize=(8, 4.6))[1]
        ax.set_facecolor("#E4E4E4")
        ax.imshow(image.permute(1, 2, 0).numpy(), extent=(0, width, height, 0))
        for (label, box), color in zip(boxes.items(), COLORS, strict=False):
            where = (box.left, box.top), box.width, box.height
            ax.add_patch(Rectangle(*where, fill=False, ec="white", lw=5))
            ax.add_patch(Rectangle(*where, fill=False, ec=color, lw=2.5, label=label))
        every = [Box(0, 0, height, width), *boxes.values()]
        margin = 0.03 * max(height, width)
        ax.set_xlim(min(b.left for b in every) - margin, max(b.right for b in every) + margin)
        ax.set_ylim(max(b.bottom for b in every) + margin, min(b.top for b in every) - margin)
        ax.set(xlabel="column (px)", ylabel="row (px)")
        ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return ax


def plot_effective_fields(image: Tensor, maps: Mapping[str, Tensor], box: Box) -> np.ndarray:
    """Fade out what a unit hardly uses, inside the box that it could use, and draw profiles.

    Parameters
    ----------
    image : Tensor
        Shape (3, H, W), uint8 or floats in [0, 1].
    maps : mapping
        Title -> mean absolute gradient of the unit, (H, W), see `effective_receptive_field`.
    box : Box
        The field in theory, drawn dashed.

    Returns
    -------
    array of Axes
        One for each map, and one for the profiles.
    """
    pixels = (image / 255 if image.dtype == torch.uint8 else image).permute(1, 2, 0)  # (H, W, 3)
    height, width, _ = pixels.shape
    with styled():
        columns = len(maps) + 1
        shape = {"width_ratios": [1] * len(maps) + [1.25]}
        axes = plt.subplots(1, columns, figsize=(10, 3.8), gridspec_kw=shape)[1]
        for ax, (title, map_), color in zip(axes, maps.items(), COLORS, strict=False):
            smooth = F.avg_pool2d(map_[None], 9, stride=1, padding=4)[0]  # single pixels flicker
            shares = (smooth / smooth.quantile(0.98)).clamp(max=1).sqrt()  # faint parts, too
            shown = 1 - (1 - pixels) * (0.1 + 0.9 * shares[..., None])
            ax.imshow(shown.numpy(), extent=(0, width, height, 0))
            edge: dict[str, Any] = {"fill": False, "ec": COLORS[5], "lw": 2, "ls": "--"}
            ax.add_patch(Rectangle((box.left, box.top), box.width, box.height, **edge))
            ax.set(title=title, xlabel="column (px)")
            profile = map_.sum(dim=0) / map_.sum()
            axes[-1].plot(profile, color=color, label=title.split("\n")[0])
        axes[-1].axvline(box.left, color=COLORS[5], ls="--", label="field in theory")
        axes[-1].axvline(box.right, color=COLORS[5], ls="--")
        axes[0].set_ylabel("row (px)")
        axes[-1].set(xlabel="column (px)", ylabel="share of the gradient", xlim=(0, width))
        axes[-1].set_ylim(bottom=0)
        axes[-1].legend(loc="lower center", bbox_to_anchor=(0.5, 1))
    return axes


def plot_field_growth(networks: Mapping[str, ReceptiveFields], ax: Axes | None = None) -> Axes:
    """Draw how the field grows from layer to layer, up to the first layer that sees everything.

    Parameters
    ----------
    networks : mapping
        Name -> its fields.
    ax : Axes, optional
        Where to draw.
    """
    with styled():
        ax = ax or plt.subplots(figsize=(9, 4.4))[1]
        for (name, fields), color in zip(networks.items(), COLORS, strict=False):
            layers = [f for f in fields.values() if "Conv" in f.operation or "Pool" in f.operation]
            sizes = [1, *(field.size[0] for field in layers if not field.is_global)]
            largest = np.maximum.accumulate(sizes)  # shortcuts and side branches see less
            ax.step(range(len(largest)), largest, where="post", color=color)
            ax.plot(len(largest) - 1, largest[-1], "o", c=color, label=f"{name}: {largest[-1]} px")
        side = next(iter(networks.values())).input_size[1]
        ax.axhline(side, color="gray", ls=":")
        at_right: dict[str, Any] = {
            "ha": "right",
            "va": "bottom",
            "transform": ax.get_yaxis_transform(),
        }
        ax.text(1, side, f"picture: {side} px", color="dimgray", **at_right)
        ax.set_yscale("log", base=2)
        ax.yaxis.set_major_formatter("{x:.0f}")
        ax.set(xlabel="convolutions and poolings so far", ylabel="side of the field (px)")
        ax.legend(loc="lower right")
    return ax


GRAY = "#C8C8C8"


class Step(NamedTuple):
    """One layer of a chain, along one axis and without padding.

    Examples
    --------
    >>> str(Step(3)), str(Step(kernel=3, stride=2))
    ('kernel 3', 'kernel 3, stride 2')
    """

    kernel: int
    stride: int = 1
    dilation: int = 1

    def __str__(self) -> str:
        settings = {"stride": self.stride, "dilation": self.dilation}
        special = [f"{name} {value}" for name, value in settings.items() if value != 1]
        return ", ".join([f"kernel {self.kernel}", *special])

    def reads(self, unit: int) -> list[int]:
        """Return which units of the layer below a unit reads.

        Examples
        --------
        >>> Step(kernel=3, stride=2, dilation=4).reads(5)
        [10, 14, 18]
        """
        return [unit * self.stride + self.dilation * tap for tap in range(self.kernel)]

    def outputs(self, inputs: int) -> int:
        """Return how many units the layer has above so many inputs."""
        return conv_size(inputs, self.kernel, self.stride, dilation=self.dilation)


def trace(steps: Sequence[Step], unit: int) -> list[list[int]]:
    """Return what a unit of the last layer reads: positions in every layer, the input first.

    Examples
    --------
    >>> trace([Step(3), Step(2, stride=2)], unit=1)
    [[2, 3, 4, 5], [2, 3], [1]]
    """
    rows = [[unit]]
    for step in reversed(steps):
        rows.append(sorted({tap for above in rows[-1] for tap in step.reads(above)}))
    return rows[::-1]


def plot_field_tree(
    steps: Sequence[Step | tuple[int, ...]],
    inputs: int | None = None,
    *,
    outputs: int = 2,
    ax: Axes | None = None,
) -> Axes:
    """Draw what one output of a chain of layers reads, and what its neighbors read.

    Below the input, a bar for each layer shows how far one of its units sees.

    Parameters
    ----------
    steps : sequence of Step or tuple
        (kernel, stride, dilation) of each layer, the first one first.
    inputs : int, optional
        Length of the input in pixels; by default as many as the outputs need.
    outputs : int
        Neighboring outputs whose trees are drawn.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    ValueError
        If the input is too short for so many outputs.

    Examples
    --------
    >>> ax = plot_field_tree([(3, 2), (3, 1)])
    >>> [text.get_text() for text in ax.texts if " px" in text.get_text()]
    ['layer 1 sees 3 px', 'layer 2 sees 7 px', 'its neighbor, 2 px further']
    """
    chain = [Step(*step) for step in steps]
    inputs = inputs or trace(chain, outputs - 1)[0][-1] + 1 - trace(chain, 0)[0][0]
    counts = list(accumulate(chain, lambda n, step: step.outputs(n), initial=inputs))
    if counts[-1] < outputs:
        raise ValueError(f"{inputs} inputs leave {max(0, counts[-1])} of {outputs} outputs")
    middle = (counts[-1] - outputs) // 2
    trees = [trace(chain, middle + i) for i in range(outputs)]
    with styled():
        ax = ax or plt.subplots(figsize=(10, 0.75 * (len(chain) + 1) + 0.32 * len(chain)))[1]
        for level, count in enumerate(counts):
            _draw_row(ax, chain[:level], count, [tree[level] for tree in trees])
        _draw_bars(ax, chain, trees)
        ax.axis("off")
    return ax


def _draw_row(ax: Axes, chain: Sequence[Step], count: int, seen: list[list[int]]) -> None:
    """Draw the units of one layer, colored by the trees they are in, and lines to their inputs."""
    level, size = len(chain), min(14.0, 480 / (_center(chain, count) + 1))
    groups: dict[tuple[int, ...], list[int]] = {}  # the trees -> the units that are in them
    for unit in range(count):
        owners = tuple(i for i, tree in enumerate(seen) if unit in tree)
        groups.setdefault(owners, []).append(unit)
    for owners, units in groups.items():
        left, right = (COLORS[owners[0]], COLORS[owners[-1]]) if owners else (GRAY, GRAY)
        halves: dict[str, Any] = {"fillstyle": "full" if left == right else "left", "mfcalt": right}
        places = [(_center(chain, unit), level) for unit in units]
        ax.plot(*zip(*places, strict=True), "o", ms=size, mfc=left, mec="white", mew=0.5, **halves)
        lines = [
            (place, (_center(chain[:-1], tap), level - 1))
            for unit, place in zip(units, places, strict=True)
            for tap in (chain[-1].reads(unit) if chain else [])
        ]
        for owner in owners:
            ax.add_collection(LineCollection(lines, colors=COLORS[owner], alpha=0.6, zorder=1))
    _label(ax, level, f"layer {level}: {chain[-1]}" if chain else f"{count} inputs")


def _draw_bars(ax: Axes, chain: Sequence[Step], trees: list[list[list[int]]]) -> None:
    """Draw below the input how far a unit of each layer sees: nested bars, then the neighbor's."""
    bars = []
    for level in range(1, len(chain) + 1):
        units = trees[0][level]
        field = trace(chain[:level], units[(len(units) - 1) // 2])[0]
        bars.append((field, COLORS[0], f"layer {level} sees {field[-1] + 1 - field[0]} px"))
    for tree, color in list(zip(trees, COLORS, strict=False))[1:]:
        step = tree[0][0] - trees[0][0][0]
        bars.append((tree[0], color, f"its neighbor, {step} px further"))
    for row, (field, color, text) in enumerate(bars):
        y = -0.55 - 0.4 * row
        ax.plot([field[0] - 0.4, field[-1] + 0.4], [y, y], color=color, lw=5)
        _label(ax, y, text)


def _label(ax: Axes, y: float, text: str) -> None:
    ax.text(-0.01, y, text, ha="right", va="center", transform=ax.get_yaxis_transform())


def _center(chain: Sequence[Step], unit: int) -> float:
    """Return the middle of what a unit sees, in pixels of the input."""
    field = trace(chain, unit)[0]
    return (field[0] + field[-1]) / 2
