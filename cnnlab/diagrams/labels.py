"""What is written at the boxes of a network's drawing: as much as there is room for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from cnnlab.diagrams.graphs import SYMBOLS, Graph, Node
from cnnlab.diagrams.layouts import Box

__all__ = ["TEXT", "Label", "labels"]

TEXT = 11  # points
LINE = 0.18  # inches: the height of a line of text
GAP = 0.04  # inches between two texts


@dataclass(frozen=True)
class Label:
    """A text, the place it takes, and its angle in degrees."""

    text: str
    box: Box
    rotation: int = 0


def labels(graph: Graph, boxes: dict[str, Box], lines: list[Box]) -> list[Label]:
    """Write shape and kernel into the boxes; else the shape beside them; else only the channels.

    Parameters
    ----------
    graph : Graph
        From ``trace``.
    boxes : dict
        From ``place``.
    lines : list of Box
        Parts of lines, which no text may touch.

    Returns
    -------
    list of Label
        No two of them overlap, nor does one cover a line or a box that is not its own.
    """
    nodes = [node for node in graph.nodes.values() if node.kind not in SYMBOLS]
    taken = [*boxes.values(), *lines]
    last = list(graph.nodes.values())[-1]
    end = [] if last in nodes else [_behind(_shape(last), boxes[last.name])]
    inside = [Label(*_written(_both(node), boxes[node.name])) for node in nodes]
    if all(_fits(label, boxes[node.name]) for label, node in zip(inside, nodes, strict=True)):
        return inside + end
    ends_of_skips = {name for _, name in graph.skips}  # their lines come from above
    shown = [node for node in nodes if not _repeats(node, graph)]
    shapes: list[Label] = []
    for text, rotation in ((_shape, 0), (_channels, 0), (_channels, 90)):
        wanted = [
            _beside(text(node), boxes[node.name], node.name not in ends_of_skips, rotation)
            for node in shown
        ]
        shapes = list(_free(wanted, taken))
        if len(shapes) == len(wanted):
            break
    taken += [label.box for label in [*shapes, *end]]
    return [*shapes, *end, *_details(nodes, boxes, taken)]


def _shape(node: Node) -> str:
    return "×".join(map(str, node.shape))


def _channels(node: Node) -> str:
    return str(node.channels)


def _both(node: Node) -> str:
    word = "input" if node.kind == "input" else node.detail
    return "\n".join(filter(None, (word, _shape(node))))


def _repeats(node: Node, graph: Graph) -> bool:
    """Tell whether the shape is that of the box before: then it need not be written again."""
    while len(node.inputs) == 1:
        before = graph.nodes[node.inputs[0]]
        if before.kind not in SYMBOLS:
            return before.shape == node.shape
        node = before
    return False


@lru_cache(maxsize=512)
def _width(text: str) -> float:
    """Measure a text in inches, with a little room beside it."""
    font = FontProperties(family="DejaVu Sans", size=TEXT)
    lines = text.split("\n")
    return max(TextPath((0, 0), line, prop=font).get_extents().x1 for line in lines) / 72 + GAP


def _written(text: str, box: Box, rotation: int = 0) -> tuple[str, Box, int]:
    width, height = _width(text), LINE * (text.count("\n") + 1)
    if rotation:
        width, height = height, width
    return text, Box(box.x, box.y, width, height), rotation


def _fits(label: Label, box: Box) -> bool:
    return label.box.width < box.width and label.box.height < box.height


def _beside(text: str, box: Box, above: bool, rotation: int = 0) -> Label:
    label = Label(*_written(text, box, rotation))
    height = label.box.height
    y = box.top + 0.03 + height / 2 if above else box.bottom - 0.03 - height / 2
    return Label(text, Box(box.x, y, label.box.width, height), rotation)


def _behind(text: str, box: Box) -> Label:
    label = Label(*_written(text, box))
    width = label.box.width
    return Label(text, Box(box.right + GAP + width / 2, box.y, width, label.box.height))


def _free(wanted: list[Label], taken: list[Box]) -> Iterator[Label]:
    taken = list(taken)
    for label in wanted:
        if not any(label.box.overlaps(box) for box in taken):
            taken.append(label.box)
            yield label


def _details(nodes: list[Node], boxes: dict[str, Box], taken: list[Box]) -> list[Label]:
    """Write the kernels of one kind of layer in the first way in which all of them fit."""
    found: list[Label] = []
    for kind in dict.fromkeys(node.kind for node in nodes if node.detail):
        places = [(n.detail, boxes[n.name]) for n in nodes if n.kind == kind and n.detail]
        broken = [(detail.replace(" ", "\n", 1), box) for detail, box in places]
        for texts, rotation in ((places, 0), (broken, 0), (places, 90)):
            inside = [Label(*_written(*text, rotation)) for text in texts]
            if all(_fits(label, box) for label, (_, box) in zip(inside, texts, strict=True)):
                found += inside
                break
        else:
            for texts in (places, broken):
                below = [_beside(*text, above=False) for text in texts]
                free = list(_free(below, [*taken, *(label.box for label in found)]))
                if len(free) == len(below):
                    found += free
                    break
    return found
