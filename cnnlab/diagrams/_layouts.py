"""Where the boxes and lines of a network's drawing go, in inches.

From left to right runs the longest path from the input; each step down is a lower resolution. So a
U-Net becomes a U, a classifier a staircase, an Inception block a bundle of parallel branches.
"""

from __future__ import annotations

import math

from matplotlib.transforms import Bbox

from cnnlab.diagrams._tracing import SYMBOLS, Graph

Line = list[tuple[float, float]]
RADIUS = 0.13  # of the symbol where branches meet
ABOVE = 0.12  # from a box to a line that passes over it


def levels(graph: Graph) -> dict[str, int]:
    """Return for each node its step down: 0 for the highest resolution.

    Resolutions belong to one level when their sides round to the same power of two, as 55 and 64.
    """
    powers = {
        name: round(math.log2(math.prod(node.shape[1:])) / 2) for name, node in graph.nodes.items()
    }
    ranks = {power: rank for rank, power in enumerate(sorted(set(powers.values()), reverse=True))}
    return {name: ranks[power] for name, power in powers.items()}


def lanes(graph: Graph) -> dict[str, float]:
    """Spread parallel branches around 0, the lane of nodes that every path passes."""
    before, nodes = graph.ancestors, graph.nodes
    beside = {a: [b for b in nodes if a not in before[b] and b not in before[a]] for a in nodes}
    main = {name for name in nodes if beside[name] == [name]}
    regions: dict[int, list[list[str]]] = {}  # between two nodes of the main line: its branches
    for name in (name for name in nodes if name not in main):
        branches = regions.setdefault(len(before[name] & main), [])
        branch = next((branch for branch in branches if branch[-1] in nodes[name].inputs), [])
        if not branch:
            branches.append(branch)
        branch.append(name)
    found = dict.fromkeys(nodes, 0.0)
    for branches in regions.values():
        for k, branch in enumerate(branches):
            found |= dict.fromkeys(branch, (len(branches) - 1) / 2 - k)
    return found


def place(graph: Graph, width: float) -> dict[str, Bbox]:
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
    column, lane, rank = graph.longest_path(lambda node: 1), lanes(graph), levels(graph)
    most = max(node.shape[0] for node in graph.nodes.values())
    weights = {
        name: 0.4 if node.kind in SYMBOLS else 0.45 + 0.55 * math.log(1 + node.shape[0], 1 + most)
        for name, node in graph.nodes.items()
    }
    columns = sorted(set(column.values()))
    heaviest = [max(weights[name] for name in weights if column[name] == c) for c in columns]
    has_loops = any(node.is_residual for node in graph.nodes.values())
    gap = min(0.4, (0.55 if has_loops else 0.36) * width / len(heaviest))
    unit = min(1.5, (width - gap * (len(heaviest) - 1)) / sum(heaviest))
    last = max(rank.values())
    pitch = min(1.1, max(0.62, 4.6 / (last + 1)))
    middles, below = [], 0.0
    for r in range(last + 1):
        inside = [lane[name] for name in graph.nodes if rank[name] == r]
        middles.append(below - max(inside) * pitch)
        below = middles[r] + (min(inside) - 1) * pitch
    boxes = {}
    for name, node in graph.nodes.items():
        before = heaviest[: column[name] - 1]
        x = sum(before) * unit + len(before) * gap + heaviest[len(before)] * unit / 2
        y = middles[rank[name]] + lane[name] * pitch
        is_symbol = node.kind in SYMBOLS
        w = 2 * RADIUS if is_symbol else unit * weights[name]
        h = 2 * RADIUS if is_symbol else pitch * (0.7 - 0.2 * rank[name] / max(1, last))
        boxes[name] = Bbox.from_bounds(x - w / 2, y - h / 2, w, h)
    return boxes


def center(box: Bbox) -> tuple[float, float]:
    """Return the middle of a box."""
    return (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2


def gaps(boxes: dict[str, Bbox], name: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return from where to where the free columns left and right of a box reach."""
    box = boxes[name]
    x, _ = center(box)
    own = [other for other in boxes.values() if other.x0 < x < other.x1]
    left, right = min(other.x0 for other in own), max(other.x1 for other in own)
    before = max((other.x1 for other in boxes.values() if other.x1 < left), default=left - 0.3)
    behind = min((other.x0 for other in boxes.values() if other.x0 > right), default=right + 0.3)
    return (before, left), (right, behind)


def connections(graph: Graph, boxes: dict[str, Bbox]) -> list[Line]:
    """Lead each edge that is no skip straight on, with a step in the gap before its end."""
    lines = []
    for source, name in graph.edges:
        if (source, name) in graph.skips:
            continue
        start, end = boxes[source], boxes[name]
        (_, y0), (_, y1) = center(start), center(end)
        step = sum(gaps(boxes, name)[0]) / 2
        corners = [(step, y0), (step, y1)] if abs(y0 - y1) > 1e-6 else []
        lines.append([(start.x1, y0), *corners, (end.x0, y1)])
    return lines


def bridges(graph: Graph, boxes: dict[str, Bbox]) -> list[Line]:
    """Lead the skips over everything between their ends, the short ones below the long ones."""
    lines: list[Line] = []
    blocks = list(boxes.values())
    for source, name in sorted(graph.skips, key=lambda e: boxes[e[1]].x0 - boxes[e[0]].x1):
        left, right = gaps(boxes, source)[1]
        x0, y0 = left + 0.3 * (right - left), center(boxes[source])[1]
        x1 = center(boxes[name])[0]
        y = ABOVE + max(block.y1 for block in blocks if block.x1 > x0 and block.x0 < x1)
        blocks.append(Bbox.from_extents(x0, y, x1, y))
        lines.append([(x0, y0), (x0, y), (x1, y), (x1, boxes[name].y1)])
    return lines


def loops(graph: Graph, boxes: dict[str, Bbox]) -> list[Line]:
    """Lead a line over each block with a residual connection inside, to where it is added."""
    lines = []
    for name, node in graph.nodes.items():
        if node.is_residual:
            (before, left), (right, behind) = gaps(boxes, name)
            x0, x1 = left - 0.25 * (left - before), right + 0.35 * (behind - right)
            y, top = center(boxes[name])[1], boxes[name].y1 + ABOVE
            lines.append([(x0, y), (x0, top), (x1, top), (x1, y)])
    return lines
