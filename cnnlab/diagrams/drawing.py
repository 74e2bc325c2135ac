"""Drawings of networks, made from the modules themselves."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle
from matplotlib.path import Path
from torch import nn

from cnnlab.diagrams.graphs import SYMBOLS, Graph, Node
from cnnlab.diagrams.labels import TEXT, Label, labels
from cnnlab.diagrams.layouts import (
    RADIUS,
    Box,
    Line,
    bridges,
    connections,
    levels,
    place,
    segments,
    stubs,
)
from cnnlab.diagrams.tracing import trace
from cnnlab.plotting import COLORS, styled

__all__ = ["draw_network"]

MARGIN = 1.1  # inches on the left, for the resolutions
_COLORS = {
    "input": "#999999",
    "convolution": COLORS[0],
    "pooling": COLORS[1],
    "upsampling": COLORS[2],
    "fully connected": COLORS[3],
    "attention": COLORS[5],
}
_FREE = (COLORS[4], COLORS[5], COLORS[2], "#F0E442", COLORS[6], COLORS[1])


def draw_network(
    model: nn.Module,
    input_size: tuple[int, ...],
    *,
    depth: int = 1,
    whole: tuple[type[nn.Module], ...] = (),
    merge: bool = True,
    title: str = "",
    width: float = 10,
    ax: Axes | None = None,
) -> Axes:
    """Draw a network from the module itself: branches, skips and the shape after each layer.

    Left to right runs the longest path from the input, each step down is a lower resolution.
    Boxes are as high as their output has positions and as wide as it has channels (compressed).

    Parameters
    ----------
    model : nn.Module
        Any network with one tensor as input; it is not changed.
    input_size : tuple of int
        Shape of one sample without the batch: (channels, height, width).
    depth : int
        How far to look into modules: what lies deeper is one box. Plain ``nn.Sequential`` and
        lists of modules are always opened.
    whole : tuple of classes
        Modules that stay one box at any depth.
    merge : bool
        Draw normalization and activation with the layer before them.
    title : str
        Above the drawing.
    width : float
        Of a new figure, in inches; its height follows.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    ValueError
        If the model cannot be run with that size.

    Examples
    --------
    >>> from cnnlab import LeNet5
    >>> ax = draw_network(LeNet5(), (1, 28, 28))
    >>> sorted(text.get_text() for text in ax.texts)[:3]
    ['10', '120', '16×10×10']
    """
    graph = trace(model, input_size, depth=depth, whole=whole, merge=merge)
    with styled():
        if ax is not None:
            inches = ax.get_window_extent().transformed(ax.figure.dpi_scale_trans.inverted())
            width = inches.width + MARGIN
        ends_in_symbol = (
            list(graph.nodes.values())[-1].kind in SYMBOLS
        )  # its shape stands behind it
        boxes = place(graph, width - MARGIN - (1 if ends_in_symbol else 0.5))
        lines = connections(graph, boxes)
        texts = labels(graph, boxes, segments([*lines, *stubs(graph, boxes).values()]))
        lines += bridges(graph, boxes, [text.box for text in texts])
        drawn = [*boxes.values(), *(text.box for text in texts), *segments(lines)]
        top, bottom = max(b.top for b in drawn) + 0.05, min(b.bottom for b in drawn) - 0.05
        left, right = min(b.left for b in drawn), max(b.right for b in drawn)
        room = max(0.05, (width - MARGIN - (right - left)) / 2)
        if ax is None:
            height = top - bottom + 0.65 + 0.3 * bool(title)
            ax = plt.subplots(figsize=(width, height))[1]
        ax.set(xlim=(left - room, right + room), ylim=(bottom, top), title=title)
        _paint(ax, graph, boxes, lines, texts)
        _explain(ax, graph, columns=max(1, int(width / 1.6)))
    return ax


def _paint(
    ax: Axes, graph: Graph, boxes: dict[str, Box], lines: list[Line], texts: list[Label]
) -> None:
    colors = _colors(graph)
    for name, box in boxes.items():
        _paint_node(ax, graph.nodes[name], box, colors)
    for line in lines:
        arrow = FancyArrowPatch(path=Path(line), arrowstyle="-|>", mutation_scale=9)
        arrow.set(color="#444444", linewidth=1.2, joinstyle="miter")
        ax.add_patch(arrow)
    for text in texts:
        drawn = ax.text(text.box.x, text.box.y, text.text, size=TEXT, ha="center", va="center")
        drawn.set(rotation=text.rotation, linespacing=1.15)
    ticks = _resolutions(graph, boxes)
    ax.set_yticks(list(ticks.values()), list(ticks))
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _colors(graph: Graph) -> dict[str, str]:
    """Give each kind of layer its color; blocks get those that are left."""
    kinds = dict.fromkeys(n.kind for n in graph.nodes.values() if n.kind not in SYMBOLS)
    free = [c for c in _FREE if c not in {_COLORS.get(kind) for kind in kinds}]
    blocks = [kind for kind in kinds if kind not in _COLORS]
    own = {kind: free[i % len(free)] for i, kind in enumerate(blocks)}
    return {kind: _COLORS.get(kind) or own[kind] for kind in kinds}


def _tint(color: str) -> tuple[float, ...]:
    return tuple(0.55 + 0.45 * c for c in to_rgb(color))  # light: black text on it is read easily


def _paint_node(ax: Axes, node: Node, box: Box, colors: dict[str, str]) -> None:
    if node.kind in SYMBOLS:
        ax.plot(box.x, box.y, "o", ms=2 * RADIUS * 72, mfc="white", mec="black", zorder=3)
        ax.text(box.x, box.y, SYMBOLS[node.kind], size=13, ha="center", va="center_baseline")
    else:
        color = colors[node.kind]
        area = Rectangle((box.left, box.bottom), box.width, box.height)
        area.set(facecolor=_tint(color), edgecolor=color, linewidth=1.2)
        ax.add_patch(area)


def _resolutions(graph: Graph, boxes: dict[str, Box]) -> dict[str, float]:
    """Return for each level the text of its resolution and the middle of its boxes."""
    rows: dict[int, list[Node]] = {}
    for name, row in levels(graph).items():
        rows.setdefault(row, []).append(graph.nodes[name])
    found = {}
    for nodes in rows.values():
        texts = [_resolution(node) for node in sorted(nodes, key=lambda node: -node.side)]
        heights = [boxes[node.name].y for node in nodes]
        found["\n".join(dict.fromkeys((texts[0], texts[-1])))] = (min(heights) + max(heights)) / 2
    return found


def _resolution(node: Node) -> str:
    if len(node.shape) == 2:
        return f"{node.shape[0]} tokens"
    return "×".join(map(str, node.shape[1:])) or "1×1"


def _explain(ax: Axes, graph: Graph, columns: int) -> None:
    """Say below what colors and symbols mean."""
    handles: list[Artist] = [
        Patch(facecolor=_tint(color), edgecolor=color, label=kind.strip("_"))
        for kind, color in _colors(graph).items()
    ]
    for kind, sign in SYMBOLS.items():
        if any(node.kind == kind for node in graph.nodes.values()):
            circle = Line2D([], [], ls="", marker="o", ms=11, mfc="white", mec="black")
            circle.set_label(f"{sign}  {kind}")
            handles.append(circle)
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=columns,
              handlelength=1.2, columnspacing=1.4)  # fmt: skip
