"""The tree of inputs that a unit of a chain of layers reads, along one axis."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from cnnlab.style import COLOURS, styled

__all__ = ["Step", "plot_field_tree"]

GREY = "#C8C8C8"


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
        return (inputs - self.dilation * (self.kernel - 1) - 1) // self.stride + 1


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
    """Draw what one output of a chain of layers reads, and what its neighbours read.

    Below the input, a bar for each layer shows how far one of its units sees.

    Parameters
    ----------
    steps : sequence of Step or tuple
        (kernel, stride, dilation) of each layer, the first one first.
    inputs : int, optional
        Length of the input in pixels; by default as many as the outputs need.
    outputs : int
        Neighbouring outputs whose trees are drawn.
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
    ['layer 1 sees 3 px', 'layer 2 sees 7 px', 'its neighbour, 2 px further']
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
    """Draw the units of one layer, coloured by the trees they are in, and lines to their inputs."""
    level, size = len(chain), min(14.0, 480 / (_centre(chain, count) + 1))
    groups: dict[tuple[int, ...], list[int]] = {}  # the trees -> the units that are in them
    for unit in range(count):
        owners = tuple(i for i, tree in enumerate(seen) if unit in tree)
        groups.setdefault(owners, []).append(unit)
    for owners, units in groups.items():
        left, right = (COLOURS[owners[0]], COLOURS[owners[-1]]) if owners else (GREY, GREY)
        halves: dict[str, Any] = {"fillstyle": "full" if left == right else "left", "mfcalt": right}
        places = [(_centre(chain, unit), level) for unit in units]
        ax.plot(*zip(*places, strict=True), "o", ms=size, mfc=left, mec="white", mew=0.5, **halves)
        lines = [
            (place, (_centre(chain[:-1], tap), level - 1))
            for unit, place in zip(units, places, strict=True)
            for tap in (chain[-1].reads(unit) if chain else [])
        ]
        for owner in owners:
            ax.add_collection(LineCollection(lines, colors=COLOURS[owner], alpha=0.6, zorder=1))
    _label(ax, level, f"layer {level}: {chain[-1]}" if chain else f"{count} inputs")


def _draw_bars(ax: Axes, chain: Sequence[Step], trees: list[list[list[int]]]) -> None:
    """Draw below the input how far a unit of each layer sees: nested bars, then the neighbour's."""
    bars = []
    for level in range(1, len(chain) + 1):
        units = trees[0][level]
        field = trace(chain[:level], units[(len(units) - 1) // 2])[0]
        bars.append((field, COLOURS[0], f"layer {level} sees {field[-1] + 1 - field[0]} px"))
    for tree, colour in list(zip(trees, COLOURS, strict=False))[1:]:
        step = tree[0][0] - trees[0][0][0]
        bars.append((tree[0], colour, f"its neighbour, {step} px further"))
    for row, (field, colour, text) in enumerate(bars):
        y = -0.55 - 0.4 * row
        ax.plot([field[0] - 0.4, field[-1] + 0.4], [y, y], color=colour, lw=5)
        _label(ax, y, text)


def _label(ax: Axes, y: float, text: str) -> None:
    ax.text(-0.01, y, text, ha="right", va="center", transform=ax.get_yaxis_transform())


def _centre(chain: Sequence[Step], unit: int) -> float:
    """Return the middle of what a unit sees, in pixels of the input."""
    field = trace(chain, unit)[0]
    return (field[0] + field[-1]) / 2
