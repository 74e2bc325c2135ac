"""Where the boxes and lines of a network's drawing go, in inches.

From left to right runs the longest path from the input; each step down is a lower resolution. So a
U-Net becomes a U, a classifier a staircase, an Inception block a bundle of parallel branches.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from cnnlab.diagrams.graphs import SYMBOLS, Graph, Node

__all__ = ["Box", "bridges", "connections", "levels", "place", "segments", "stubs"]

Line = list[tuple[float, float]]
RADIUS = 0.13  # of the symbol where branches meet


@dataclass(frozen=True)
class Box:
    """A rectangle by its center, width and height."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        """Its left edge."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """Its right edge."""
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        """Its upper edge."""
        return self.y + self.height / 2

    @property
    def bottom(self) -> float:
        """Its lower edge."""
        return self.y - self.height / 2

    def overlaps(self, other: Box) -> bool:
        """Tell whether two rectangles share a place."""
        return (
            2 * abs(self.x - other.x) < self.width + other.width
            and 2 * abs(self.y - other.y) < self.height + other.height
        )


def levels(graph: Graph) -> dict[str, int]:
    """Return for each node its step down: 0 for the highest resolution.

    Resolutions belong to one level when their sides round to the same power of two, as 55 and 64.
    """
    powers = {name: round(math.log2(node.side)) for name, node in graph.nodes.items()}
    ranks = {power: rank for rank, power in enumerate(sorted(set(powers.values()), reverse=True))}
    return {name: ranks[power] for name, power in powers.items()}


def _branches(graph: Graph) -> list[list[list[str]]]:
    """Find the regions where branches run side by side: each a list of runs of nodes."""
    skips, ancestors = set(graph.skips), graph.ancestors
    direct = [edge for edge in graph.edges if edge not in skips]
    forks = {source for source in graph.nodes if sum(source == a for a, _ in direct) > 1}

    def alone(name: str) -> bool:  # every path goes through it
        others = graph.nodes.keys() - ancestors[name] - {name}
        return all(name in ancestors[other] for other in others)

    main = {name for name in graph.nodes if alone(name)}
    regions: dict[int, list[list[str]]] = {}
    for name in graph.nodes.keys() - main:
        regions.setdefault(len(ancestors[name] & main), [])
    for name in graph.nodes:
        if name in main:
            continue
        region = regions[len(ancestors[name] & main)]
        sources = [source for source, target in direct if target == name]
        run = next((run for run in region if [run[-1]] == sources), None)
        if run is None or sources[0] in forks:
            region.append([name])
        else:
            run.append(name)
    return list(regions.values())


def _lanes(graph: Graph, columns: dict[str, int]) -> dict[str, float]:
    """Spread parallel branches: 0 is the main line, above it positive, below it negative."""
    found = dict.fromkeys(graph.nodes, 0.0)
    last = {source: columns[name] for source, name in graph.edges}  # the latest use wins
    for region in _branches(graph):
        rows: list[list[list[str]]] = []
        for run in region:  # into the first row where nothing is in the way
            column, inputs = columns[run[0]], graph.nodes[run[0]].inputs
            ends = ([old[-1] for old in row] for row in rows)
            free = (all(last[end] < column or end in inputs for end in row) for row in ends)
            row = next((row for row, fits in zip(rows, free, strict=True) if fits), None)
            if row is None:
                rows.append([run])
            else:
                row.append(run)
        if len(rows) == 2:
            rows.sort(key=lambda row: -sum(map(len, row)))  # the longer one is the main line
        middle = (len(rows) - 1) / 2 if len(rows) > 2 else 0
        for k, row in enumerate(rows):
            offset = middle - k if len(rows) > 2 else k
            found.update({name: offset for run in row for name in run})
    return found


def place(graph: Graph, width: float) -> dict[str, Box]:
    """Give each node its box: column by longest path, row by resolution and branch.

    Parameters
    ----------
    graph : Graph
        From ``trace``.
    width : float
        Room from left to right, in inches.

    Returns
    -------
    dict
        Name of the node to its box; wider means more channels (compressed), higher more positions.
    """
    columns = graph.longest_path(lambda node: 1)
    lane, rank = _lanes(graph, columns), levels(graph)
    count = max(rank.values()) + 1
    pitch = min(1.1, max(0.62, 4.6 / count))
    heights = [pitch * (0.7 - 0.2 * r / max(1, count - 1)) for r in range(count)]
    middles, y = [], 0.0
    for r in range(count):
        inside = [lane[name] for name in graph.nodes if rank[name] == r]
        y -= max(inside) * pitch if r else 0
        middles.append(y)
        y += (min(inside) - 1) * pitch
    lefts, share, unit = _spread(graph, columns, width)
    boxes = {}
    for name, node in graph.nodes.items():
        symbol = node.kind in SYMBOLS
        w = 2 * RADIUS if symbol else unit * _weight(node, graph)
        h = 2 * RADIUS if symbol else heights[rank[name]]
        x = lefts[columns[name]] + share[columns[name]] / 2
        boxes[name] = Box(x, middles[rank[name]] + lane[name] * pitch, w, h)
    return boxes


def _weight(node: Node, graph: Graph) -> float:
    """Return how wide a box is among the others: compressed, or 3 channels would vanish."""
    most = max(other.channels for other in graph.nodes.values())
    return 0.45 + 0.55 * math.log2(1 + node.channels) / math.log2(1 + most)


def _spread(
    graph: Graph, columns: dict[str, int], width: float
) -> tuple[dict[int, float], dict[int, float], float]:
    """Divide the width: left edge and width of each column, and inches for a weight of 1."""
    weights: dict[int, float] = {}
    for name, node in graph.nodes.items():
        weight = 0 if node.kind in SYMBOLS else _weight(node, graph)
        weights[columns[name]] = max(weight, weights.get(columns[name], 0))
    gap = min(0.4, 0.36 * width / len(weights))
    room = width - gap * (len(weights) - 1) - 2 * RADIUS * sum(not w for w in weights.values())
    unit = min(1.5, room / sum(weights.values()))
    lefts, shares, x = {}, {}, 0.0
    for column in sorted(weights):
        shares[column] = weights[column] * unit or 2 * RADIUS
        lefts[column] = x
        x += shares[column] + gap
    return lefts, shares, unit


def connections(graph: Graph, boxes: dict[str, Box]) -> list[Line]:
    """Lead each edge that is no skip straight on, with a step in the gap before its end."""
    skips = set(graph.skips)
    lines = []
    for source, name in graph.edges:
        if (source, name) in skips:
            continue
        start, end = boxes[source], boxes[name]
        column = min(box.left for box in boxes.values() if abs(box.x - end.x) < 1e-6)
        step = (max(box.right for box in boxes.values() if box.right < column) + column) / 2
        corners = [(step, start.y), (step, end.y)] if abs(start.y - end.y) > 1e-6 else []
        lines.append([(start.right, start.y), *corners, (end.left, end.y)])
    return lines


def stubs(graph: Graph, boxes: dict[str, Box]) -> dict[str, Line]:
    """Begin the skips: for each source a line from the arrow behind it up to above its box."""
    found = {}
    for source, _ in graph.skips:
        box = boxes[source]
        following = min(other.left for other in boxes.values() if other.left > box.right)
        x = box.right + 0.3 * (following - box.right)
        found[source] = [(x, box.y), (x, box.top + 0.1)]
    return found


def bridges(graph: Graph, boxes: dict[str, Box], texts: list[Box]) -> list[Line]:
    """Lead the skips over everything that is in the way, one line for each source and target.

    Parameters
    ----------
    graph : Graph
        From ``trace``.
    boxes : dict
        From ``place``.
    texts : list of Box
        What else must not be crossed.
    """
    blocks = [*boxes.values(), *texts]
    targets: dict[str, list[str]] = {}
    sources: dict[str, list[str]] = {}
    for source, name in graph.skips:
        targets.setdefault(source, []).append(name)
        sources.setdefault(name, []).append(source)
    lines, starts = [], stubs(graph, boxes)
    for source in sorted(targets, key=lambda s: boxes[targets[s][-1]].x - boxes[s].x):
        x0, y0 = starts[source][0]
        x1 = boxes[targets[source][-1]].x
        span = Box((x0 + x1) / 2, 0, x1 - x0, 0)
        y = 0.12 + max(b.top for b in blocks if 2 * abs(b.x - span.x) < b.width + span.width)
        blocks.append(Box(span.x, y, span.width, 0))
        for name in targets[source]:
            end, k = boxes[name], sources[name].index(source)
            spread = 0 if graph.nodes[name].kind in SYMBOLS else end.width / len(sources[name])
            x = end.x + spread * (k - (len(sources[name]) - 1) / 2)
            lines.append([(x0, y0), (x0, y), (x, y), (x, end.top)])
    return lines


def segments(lines: Iterable[Line]) -> list[Box]:
    """Return the straight parts of lines as thin rectangles."""
    return [
        Box((x0 + x1) / 2, (y0 + y1) / 2, abs(x1 - x0) + 0.04, abs(y1 - y0) + 0.04)
        for line in lines
        for (x0, y0), (x1, y1) in pairwise(line)
    ]
