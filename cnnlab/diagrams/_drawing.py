"""Paints the boxes, lines and words of a network's drawing."""

from __future__ import annotations

from itertools import cycle, pairwise

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.path import Path
from matplotlib.transforms import Bbox
from torch import nn

from cnnlab.diagrams._layouts import bridges, center, connections, levels, loops, place
from cnnlab.diagrams._tracing import SYMBOLS, Graph, Node, trace
from cnnlab.plotting import COLORS, styled

MARGIN = 1.1  # inches on the left, for the resolutions, and behind the last symbol, for its shape
TEXT, LINE, LETTER = 11, 0.2, 0.105  # points; inches: height of a line, width of a digit
KIND_COLORS = {
    "input": "#999999", "convolution": COLORS[0], "pooling": COLORS[1], "upsampling": "#F0E442",
    "fully connected": COLORS[3],
}  # fmt: skip
BLOCK_COLORS = (COLORS[4], COLORS[5], COLORS[2], COLORS[6])


def draw_network(
    model: nn.Module, input_size: tuple[int, ...], *, depth: int = 1, title: str = "",
    ax: Axes | None = None,
) -> Axes:  # fmt: skip
    """Draw a network from the module itself: branches, skips and the shape after each layer.

    Left to right runs the longest path from the input, each step down is a lower resolution.
    Boxes are as high as their output has positions and as wide as it has channels (compressed).
    A line over a block is its residual connection, which is added to the block's output.

    Parameters
    ----------
    model : nn.Module
        Any network with one tensor as input; it is not changed.
    input_size : tuple of int
        Shape of one sample without the batch: (channels, height, width).
    depth : int
        How far to look into modules: what lies deeper is one box. Plain ``nn.Sequential`` and
        lists of modules are always opened.
    title : str
        Above the drawing.
    ax : Axes, optional
        Where to draw; a new figure is 10 inches wide and as high as it needs to be.

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
    graph = trace(model, input_size, depth=depth)
    width = 10.0 if ax is None else ax.get_window_extent().width / ax.figure.dpi + MARGIN
    ends_in_symbol = list(graph.nodes.values())[-1].kind in SYMBOLS
    boxes = place(graph, width - MARGIN - (MARGIN if ends_in_symbol else 0.5))
    arcs = loops(graph, boxes)
    lines = [*connections(graph, boxes), *bridges(graph, boxes), *arcs]
    drawn = Bbox.union([*boxes.values(), *(Path(line).get_extents() for line in lines)])
    bottom, top = drawn.y0 - LINE - 0.1, drawn.y1 + 0.1
    room = (width - MARGIN - drawn.width) / 2
    with styled():
        if ax is None:
            ax = plt.subplots(figsize=(width, top - bottom + 0.65 + 0.3 * bool(title)))[1]
        ax.set(xlim=(drawn.x0 - room, drawn.x1 + room), ylim=(bottom, top), title=title, xticks=[])
        ticks = resolutions(graph, boxes)
        ax.set_yticks(list(ticks.values()), list(ticks))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        colors = colors_of(graph)
        for name, box in boxes.items():
            paint_node(ax, graph.nodes[name], box, colors)
        for line in lines:
            arrow = FancyArrowPatch(path=Path(line), arrowstyle="-|>", mutation_scale=9)
            ax.add_patch(arrow)
            arrow.set(color="#444444", linewidth=1.2, joinstyle="miter")
        for *_, end in arcs:
            paint_symbol(ax, "+", "residual connection", *end, size=9)
        write_shapes(ax, graph, boxes)
        handles, words = ax.get_legend_handles_labels()
        once = dict(zip(words, handles, strict=True))
        ax.legend(once.values(), once, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=6,
                  handlelength=1.2, columnspacing=1.2, markerscale=0.7)  # fmt: skip
    return ax


def paint_node(ax: Axes, node: Node, box: Bbox, colors: dict[str, str]) -> None:
    """Draw a box with its kernel, or a symbol."""
    x, y = center(box)
    if node.kind in SYMBOLS:
        paint_symbol(ax, SYMBOLS[node.kind], node.kind, x, y, size=72 * box.width)
        return
    color, word = colors[node.kind], node.kind.strip("_")
    area = Rectangle((box.x0, box.y0), box.width, box.height, label=word)
    ax.add_patch(area)
    area.set(facecolor=(color, 0.45), edgecolor=color, linewidth=1.2)  # light behind black text
    length = LETTER * len(node.kernel)
    if 0 < length < max(box.width, box.height) and box.width > LINE:
        rotation = 0 if length < box.width else 90
        ax.text(x, y, node.kernel, size=TEXT, rotation=rotation, ha="center", va="center")


def paint_symbol(ax: Axes, sign: str, word: str, x: float, y: float, size: float) -> None:
    """Draw a sign in a circle."""
    ax.plot(x, y, "o", ms=size, mfc="white", mec="black", zorder=3, label=f"{sign}  {word}")
    ax.text(x, y, sign, size=max(TEXT, 0.7 * size), ha="center", va="center_baseline", zorder=4)


def write_shapes(ax: Axes, graph: Graph, boxes: dict[str, Bbox]) -> None:
    """Write the shape below each box, or only where the channels change if there is less room."""
    nodes = list(graph.nodes.values())
    columns = sorted({center(box)[0] for box in boxes.values()})
    texts = {node.name: "×".join(map(str, node.shape)) for node in nodes}
    is_narrow = LETTER * max(map(len, texts.values())) > min(b - a for a, b in pairwise(columns))
    if is_narrow:
        texts = {node.name: str(node.shape[0]) for node in nodes}
    for node in nodes:
        (x, y), box, text = center(boxes[node.name]), boxes[node.name], texts[node.name]
        if node.kind in SYMBOLS:
            if node is nodes[-1]:
                ax.text(box.x1 + 0.05, y, text, size=TEXT, va="center")
        elif not is_narrow or [texts[source] for source in node.inputs] != [text]:
            ax.text(x, box.y0 - 0.04, text, size=TEXT, ha="center", va="top")


def colors_of(graph: Graph) -> dict[str, str]:
    """Give each kind of layer its color, and each kind of block one of the others."""
    kinds = dict.fromkeys(n.kind for n in graph.nodes.values() if n.kind not in SYMBOLS)
    blocks = [kind for kind in kinds if kind not in KIND_COLORS]
    own = dict(zip(blocks, cycle(BLOCK_COLORS), strict=False))
    return {kind: KIND_COLORS.get(kind) or own[kind] for kind in kinds}


def resolutions(graph: Graph, boxes: dict[str, Bbox]) -> dict[str, float]:
    """Return for each level the text of its resolutions and the middle of its boxes."""
    rank, found = levels(graph), {}
    for row in set(rank.values()):
        nodes = [node for node in graph.nodes.values() if rank[node.name] == row]
        texts = dict.fromkeys("×".join(map(str, node.shape[1:])) or "1×1" for node in nodes)
        heights = [center(boxes[node.name])[1] for node in nodes]
        found["\n".join([*texts][:2])] = (min(heights) + max(heights)) / 2
    return found
