"""Lesson 06: the tree of inputs that an output of a chain of layers reads."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from cnnlab.fields import conv_size
from cnnlab.plotting import COLORS, styled

__all__ = ["plot_field_tree", "trace"]

Chain = Sequence[tuple[int, int, int]]  # kernel, stride and dilation of each layer, no padding
GRAY = "#C8C8C8"


def trace(chain: Chain, unit: int) -> list[list[int]]:
    """Return what a unit of the last layer reads: positions in every layer, the input first.

    Examples
    --------
    >>> trace([(3, 1, 1), (2, 2, 1)], unit=1)
    [[2, 3, 4, 5], [2, 3], [1]]
    """
    rows = [[unit]]
    for kernel, stride, dilation in reversed(chain):
        taps = [dilation * tap for tap in range(kernel)]
        rows.append(sorted({above * stride + tap for above in rows[-1] for tap in taps}))
    return rows[::-1]


@styled()
def plot_field_tree(chain: Chain, inputs: int | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw what one output of a chain of layers reads, and what its neighbor reads.

    Below the input, a bar for each layer shows how far one of its units sees.

    Parameters
    ----------
    chain : sequence of (kernel, stride, dilation)
        One triple per layer, the first layer first.
    inputs : int, optional
        Length of the input in pixels; by default as many as two outputs need.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    ValueError
        If the input is too short for two outputs.

    Examples
    --------
    >>> ax = plot_field_tree([(3, 2, 1), (3, 1, 1)])
    >>> [text.get_text() for text in ax.texts if " px" in text.get_text()]
    ['layer 1 sees 3 px', 'layer 2 sees 7 px', 'its neighbor, 2 px further']
    """
    counts = [inputs or trace(chain, 1)[0][-1] + 1]  # units of each layer
    for kernel, stride, dilation in chain:
        counts.append(conv_size(counts[-1], kernel, stride, dilation=dilation))
    if counts[-1] < 2:
        raise ValueError(f"{inputs} inputs leave {max(0, counts[-1])} of 2 outputs")
    middle = (counts[-1] - 2) // 2
    trees = [trace(chain, middle), trace(chain, middle + 1)]
    ax = ax or plt.subplots(figsize=(10, 0.75 + 1.07 * len(chain)))[1]
    for level, count in enumerate(counts):
        _draw_layer(ax, chain[:level], count, [tree[level] for tree in trees])
    for level, units in enumerate(trees[0][1:], start=1):
        field = trace(chain[:level], units[(len(units) - 1) // 2])[0]
        text = f"layer {level} sees {field[-1] + 1 - field[0]} px"
        _draw_bar(ax, level - 1, field, COLORS[0], text)
    step = trees[1][0][0] - trees[0][0][0]
    _draw_bar(ax, len(chain), trees[1][0], COLORS[1], f"its neighbor, {step} px further")
    ax.axis("off")
    return ax


def _draw_layer(ax: Axes, chain: Chain, count: int, seen: list[list[int]]) -> None:
    """Draw the units of the last layer of a chain, in the colors of the trees they are in."""
    level, centers = len(chain), [_center(chain, unit) for unit in range(count)]
    size = min(14.0, 480 / (centers[-1] + 1))
    in_both = [unit for unit in seen[0] if unit in seen[1]]  # orange with a blue core

    def draw_units(units: Sequence[int], color: str, size: float) -> None:
        ax.plot([centers[unit] for unit in units], [level] * len(units), "o", color=color, ms=size)

    draw_units(range(count), GRAY, size)
    draw_units(seen[0], COLORS[0], size)
    draw_units(seen[1], COLORS[1], size)
    draw_units(in_both, COLORS[0], size / 2)
    for units, color in zip(seen, COLORS, strict=False):
        lines = [
            [(centers[unit], level), (_center(chain[:-1], tap), level - 1)]
            for unit in units
            for tap in (trace(chain[-1:], unit)[0] if chain else [])
        ]
        ax.add_collection(LineCollection(lines, colors=color, alpha=0.6, zorder=1))
    if not chain:
        return _label(ax, level, f"{count} inputs")
    settings = zip(("kernel", "stride", "dilation"), chain[-1], strict=True)
    words = [f"{name} {value}" for name, value in settings if name == "kernel" or value != 1]
    return _label(ax, level, f"layer {level}: {', '.join(words)}")


def _center(chain: Chain, unit: int) -> float:
    """Return the middle of what a unit sees, in pixels of the input."""
    field = trace(chain, unit)[0]
    return (field[0] + field[-1]) / 2


def _draw_bar(ax: Axes, row: int, field: list[int], color: str, text: str) -> None:
    y = -0.55 - 0.4 * row
    ax.plot([field[0] - 0.4, field[-1] + 0.4], [y, y], color=color, lw=5)
    _label(ax, y, text)


def _label(ax: Axes, y: float, text: str) -> None:
    ax.text(-0.01, y, text, ha="right", va="center", transform=ax.get_yaxis_transform())
