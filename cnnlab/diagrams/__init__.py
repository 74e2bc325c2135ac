"""Drawings of networks, made from the modules themselves.

`draw_network` runs a network once without numbers (``_tracing``), finds places for its boxes and
lines (``_layouts``) and draws them (``_drawing``). `trace` alone returns its graph.
"""

from cnnlab.diagrams._drawing import draw_network
from cnnlab.diagrams._tracing import Graph, Node, trace

__all__ = ["Graph", "Node", "draw_network", "trace"]
