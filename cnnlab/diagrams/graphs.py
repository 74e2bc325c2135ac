"""A network as a graph: what is connected to what."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

__all__ = ["SYMBOLS", "Graph", "Node"]

SYMBOLS = {"addition": "+", "concatenation": "‖", "product": "×"}  # where branches meet


@dataclass(frozen=True)
class Node:
    """One box of a drawing: a layer, a whole block, or a place where branches meet.

    Attributes
    ----------
    name : str
        The module's name in the model, or the function's.
    kind : str
        "convolution", "pooling", "addition" …, or the class of a block.
    detail : str
        Kernel, stride and groups, e.g. "3×3 /2".
    shape : tuple of int
        Of the output, without the batch: (C, H, W), (tokens, C) or (C,).
    inputs : tuple of str
        Names of the nodes whose outputs it takes.
    """

    name: str
    kind: str
    detail: str
    shape: tuple[int, ...]
    inputs: tuple[str, ...]

    @property
    def channels(self) -> int:
        """Channels of the output."""
        return self.shape[1] if len(self.shape) == 2 else self.shape[0]

    @property
    def side(self) -> float:
        """Side of the square with as many positions as the output has: 1 for a vector."""
        places = self.shape[:1] if len(self.shape) == 2 else self.shape[1:]
        return math.prod(places) ** 0.5


@dataclass(frozen=True)
class Graph:
    """Nodes in the order in which they ran."""

    nodes: dict[str, Node] = field(default_factory=dict)

    @property
    def edges(self) -> list[tuple[str, str]]:
        """All pairs (from, to)."""
        return [(source, node.name) for node in self.nodes.values() for source in node.inputs]

    @cached_property
    def ancestors(self) -> dict[str, set[str]]:
        """For each node, the nodes that it depends on."""
        found: dict[str, set[str]] = {}
        for name, node in self.nodes.items():
            found[name] = set(node.inputs).union(*(found[source] for source in node.inputs))
        return found

    @property
    def skips(self) -> list[tuple[str, str]]:
        """Edges that pass by other nodes: there is also a longer way from the one to the other."""
        return [
            (source, name)
            for source, name in self.edges
            if any(source in self.ancestors[other] for other in self.nodes[name].inputs)
        ]

    def longest_path(self, cost: Callable[[Node], int]) -> dict[str, int]:
        """Return for each node the largest sum of costs from the input up to and with it."""
        total: dict[str, int] = {}
        for name, node in self.nodes.items():
            total[name] = cost(node) + max((total[source] for source in node.inputs), default=0)
        return total
