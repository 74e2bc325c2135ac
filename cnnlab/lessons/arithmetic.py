"""Lessons 00, 03 and 04: small matrices drawn with the number in every cell.

:func:`plot_grids` draws any matrices beside each other. Made of it: :func:`plot_recipe`, the steps
of a transposed convolution.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import replace
from enum import IntEnum
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

from cnnlab.lessons.transposed import TransposedConvolution
from cnnlab.plotting import COLORS, styled

__all__ = ["Grid", "Kind", "plot_grids", "plot_recipe"]

LARGEST_CELL = 0.6  # inches
CHARACTER = 0.1  # inches, the width of a letter of a title
GAP = 0.55  # inches between grids, for the symbol


class Kind(IntEnum):
    """What a cell is, where its color says so instead of its value."""

    INPUT = 0
    INSERTED_ZERO = 1
    BORDER = 2
    KERNEL = 3
    OUTPUT = 4

    @property
    def color(self) -> np.ndarray:
        """A light tint, on which black numbers can be read: RGB in [0, 1]."""
        number, share = ((0, 0.4), (5, 0.45), (6, 0.12), (2, 0.4), (3, 0.45))[self]
        return _tint(COLORS[number], np.array(share))


class Grid(NamedTuple):
    """One of the matrices of :func:`plot_grids`."""

    title: str
    values: Tensor  # (H, W); NaN is an empty cell
    kinds: Tensor | None = None  # (H, W), integers: see Kind
    marked: Tensor | None = None  # (H, W), bool: cells with a thick frame


def plot_grids(
    grids: Sequence[Grid | tuple],
    *,
    columns: int | None = None,
    symbols: str | Sequence[str] = "",
    decimals: int | None = None,
    numbers: bool = True,
    width: float = 10,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw matrices beside each other, with cells of one size and symbols such as "→" between.

    Parameters
    ----------
    grids : sequence of Grid or tuple
        (title, values) or (title, values, kinds) or (title, values, kinds, marked).
    columns : int, optional
        Matrices in a row; by default all.
    symbols : str or sequence of str
        Before each matrix but the first of its row; a single one is used everywhere.
    decimals : int, optional
        Digits after the point; by default none if all are whole numbers, else two.
    numbers : bool
        Write them; without, a heat map is left: blue above zero, orange below.
    width : float
        Largest width of the figure in inches.
    legend : bool
        Explain the colors of the kinds below the matrices.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    ValueError
        If a matrix does not have two dimensions, or its kinds have another shape.

    Examples
    --------
    >>> import torch
    >>> ax = plot_grids([("x", torch.ones(2, 2)), ("2x", 2 * torch.ones(2, 2))], symbols="→")
    >>> [text.get_text() for text in ax.texts]
    ['1', '1', '1', '1', 'x', '→', '2', '2', '2', '2', '2x']
    """
    items = [_validate(Grid(*grid)) for grid in grids]
    columns = min(columns or len(items), len(items))
    signs = [symbols] * len(items) if isinstance(symbols, str) else ["", *symbols]
    limit = max(item.values.nan_to_num().abs().max().item() for item in items) or 1.0
    cell, places, size = _layout(items, columns, width)
    with styled():
        ax = ax or plt.subplots(figsize=(size[0] * cell, size[1] * cell + 0.1))[1]
        for i, (item, (x, y, slot)) in enumerate(zip(items, places, strict=True)):
            if i % columns and signs[i]:
                place = (x - GAP / cell / 2, y + item.values.shape[0] / 2)
                ax.text(*place, signs[i], ha="center", va="center", size=18)
            left = x + (slot - item.values.shape[1]) / 2
            _draw(ax, item, left, y, limit, decimals, numbers and cell > 0.2)
        coded = [item.kinds.flatten() for item in items if item.kinds is not None]
        kinds = torch.cat(coded).tolist() if coded else []
        if legend and len(set(kinds)) > 1:
            ax.legend(handles=_patches(kinds), loc="upper center", bbox_to_anchor=(0.5, 0), ncols=5)
        ax.set(xlim=(-0.1, size[0] + 0.1), ylim=(size[1] + 0.1, -0.1), aspect="equal")
        ax.axis("off")
    return ax


def _validate(grid: Grid) -> Grid:
    """Refuse parts that are not matrices of one shape; make the values float64 on the CPU."""
    for part in grid[1:]:
        if part is not None and (part.ndim != 2 or part.shape != grid.values.shape):
            shapes = f"{tuple(part.shape)} beside {tuple(grid.values.shape)}"
            raise ValueError(f"the grid {grid.title!r} needs parts of one shape (H, W): {shapes}")
    return grid._replace(values=grid.values.detach().cpu().double())


def _layout(
    items: Sequence[Grid], columns: int, width: float
) -> tuple[float, list[tuple[float, float, float]], tuple[float, float]]:
    """Return the side of a cell in inches, (x, y, width) of each grid's place, and the whole size.

    All but the first are in cells.
    """
    rows = [items[i : i + columns] for i in range(0, len(items), columns)]
    letters = [max(map(len, item.title.split("\n"))) * CHARACTER for item in items]
    shapes = [item.values.shape for item in items]
    cell = LARGEST_CELL
    for _ in range(8):  # smaller cells need more of them for a title: approach the width
        slots = [
            max(max(shapes[i][1], letters[i] / cell) for i in range(c, len(items), columns))
            for c in range(columns)
        ]
        total = sum(slots) + (columns - 1) * GAP / cell
        cell = min(LARGEST_CELL, width / total)
    places, y = [], 0.0
    for row in rows:
        y += max(item.title.count("\n") + bool(item.title) for item in row) * 0.25 / cell
        tallest = max(item.values.shape[0] for item in row)
        for c, item in enumerate(row):  # all in the middle of their row
            down = (tallest - item.values.shape[0]) / 2
            places.append((sum(slots[:c]) + c * GAP / cell, y + down, slots[c]))
        y += tallest + 0.2 / cell
    return cell, places, (total, y)


def _draw(
    ax: Axes, grid: Grid, left: float, top: float, limit: float, decimals: int | None, numbers: bool
) -> None:
    """Draw one matrix with its upper left corner at (left, top); a cell is 1 wide."""
    values = grid.values.numpy()
    height, width = values.shape
    colors = _colors(grid, limit)
    ax.imshow(colors, extent=(left, left + width, top + height, top), interpolation="nearest")
    if numbers or grid.kinds is not None:
        ax.hlines(np.arange(height + 1) + top, left, left + width, color="gray", lw=0.8)
        ax.vlines(np.arange(width + 1) + left, top, top + height, color="gray", lw=0.8)
    else:
        ax.add_patch(Rectangle((left, top), width, height, fill=False, ec="gray", lw=0.8))
    if numbers:
        whole = np.allclose(values, values.round(), atol=1e-6, equal_nan=True)
        digits = decimals if decimals is not None else 0 if whole else 2
        for row, column in np.argwhere(~np.isnan(values)):
            number = round(values[row, column], digits) + 0.0  # no minus before nothing
            ink = "white" if colors[row, column] @ (0.299, 0.587, 0.114) < 0.5 else "black"
            text = f"{number:.{digits}f}".replace("-", "−")
            place = (left + column + 0.5, top + row + 0.5)
            ax.text(*place, text, ha="center", va="center", color=ink, size=11)
    if grid.marked is not None:
        for row, column in grid.marked.nonzero().tolist():
            corner = (left + column + 0.06, top + row + 0.06)
            ax.add_patch(Rectangle(corner, 0.88, 0.88, fill=False, ec="black", lw=2))
    ax.text(left + width / 2, top - 0.12, grid.title, ha="center", va="bottom", size=12)


def _colors(grid: Grid, limit: float) -> np.ndarray:
    """Return the color of each cell (H, W, 3): by its kind, or by its value up to the limit."""
    if grid.kinds is not None:
        return np.array([[Kind(kind).color for kind in row] for row in grid.kinds.tolist()])
    values = grid.values.numpy()
    share = 0.75 * np.abs(np.nan_to_num(values)) / limit
    return np.where(values[..., None] >= 0, _tint(COLORS[0], share), _tint(COLORS[1], share))


def _patches(kinds: Container[int]) -> list[Patch]:
    """Return what explains the colors of some kinds in a legend."""
    return [
        Patch(facecolor=kind.color, edgecolor="gray", label=kind.name.lower().replace("_", " "))
        for kind in Kind
        if kind in kinds
    ]


def _tint(color: str, share: np.ndarray) -> np.ndarray:
    """Mix a share of a color into white: (…) -> (…, 3)."""
    return 1 - share[..., None] * (1 - np.array(to_rgb(color)))


def plot_recipe(view: TransposedConvolution, step: int | None = None) -> plt.Axes:
    """Draw a transposed convolution as an ordinary one: every step of the recipe with its numbers.

    Parameters
    ----------
    view : TransposedConvolution
        Of an x of shape (H, W).
    step : int, optional
        Position of the kernel, counted along the rows: its cells and the output that it computes
        get a frame, and later outputs are not there yet. Beyond the last, it stays at the last.

    Raises
    ------
    ValueError
        If x has more dimensions than two.

    Examples
    --------
    >>> from cnnlab.lessons.transposed import transposed_convolution
    >>> view = transposed_convolution(torch.ones(2, 2), torch.ones(3, 3), stride=2, padding=1)
    >>> ax = plot_recipe(view, step=4)
    >>> [text.get_text() for text in ax.texts][-1]
    'output'
    """
    if view.x.ndim != 2:
        raise ValueError("only one image with one channel can be drawn: give x as (H, W)")
    x, padded, kernel, output = view.x, view.padded, view.flipped_kernel, view.output
    kinds_stretched, kinds_padded = _kinds(view)
    footprint = here = None
    if step is not None:
        place = divmod(min(step, output.numel() - 1), output.shape[1])
        here = _mask(output, place, (1, 1), (1, 1))
        footprint = _mask(padded, place, tuple(kernel.shape), view.dilation)
        later = torch.arange(output.numel()).reshape(output.shape) > step
        output = output.double().masked_fill(later, torch.nan)
    grids = [
        Grid("input", x, torch.full(x.shape, Kind.INPUT)),
        Grid(f"stretched: z = {view.zeros_inserted}", view.stretched, kinds_stretched),
        Grid(f"padded: p′ = {view.border}", padded, kinds_padded, footprint),
        Grid("kernel, turned", kernel, torch.full(kernel.shape, Kind.KERNEL)),
        Grid("output", output, torch.full(output.shape, Kind.OUTPUT), here),
    ]
    return plot_grids(grids, symbols=["→", "→", "∗", "="])


def _kinds(view: TransposedConvolution) -> tuple[Tensor, Tensor]:
    """Return what each cell of `stretched` and of `padded` is."""
    ones = replace(view, x=torch.ones(view.x.shape[-2:], dtype=torch.int64))
    codes = 1 + ones.stretched  # 2 at the inputs, 1 at inserted zeros; padding adds 0
    padded = replace(ones, x=codes, stride=(1, 1)).padded
    kinds = torch.tensor([Kind.BORDER, Kind.INSERTED_ZERO, Kind.INPUT])
    return kinds[codes], kinds[padded]


def _mask(
    image: Tensor, corner: tuple[int, int], kernel: tuple[int, ...], dilation: tuple[int, int]
) -> Tensor:
    """Mark the cells of an image that a kernel sees from its upper left corner on."""
    (top, left), (k_h, k_w), (d_h, d_w) = corner, kernel, dilation
    mask = torch.zeros(image.shape, dtype=torch.bool)
    mask[top : top + (k_h - 1) * d_h + 1 : d_h, left : left + (k_w - 1) * d_w + 1 : d_w] = True
    return mask
