"""A network as a graph: what is connected to what, found by running it once.

The model runs without numbers (on PyTorch's meta device), so even large networks take little time
and no memory. Because it really runs, every forward function works, also one with ``if`` and loops.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.node import map_aggregate
from torch.overrides import TorchFunctionMode

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
    kernel : str
        Sides of a layer's window, e.g. "3×3"; empty if it has none.
    shape : tuple of int
        Of the output, without the batch: (C, H, W), (C, tokens) or (C,).
    inputs : tuple of str
        Names of the nodes whose outputs it takes.
    is_residual : bool
        Whether it is a block with a residual connection inside.
    """

    name: str
    kind: str
    kernel: str
    shape: tuple[int, ...]
    inputs: tuple[str, ...]
    is_residual: bool = False


@dataclass(frozen=True)
class Graph:
    """Nodes by name, in the order in which they ran."""

    nodes: dict[str, Node]

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

    @cached_property
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


# What an operation is, by the name of its class or function; the first that fits.
KINDS = {
    "upsampling": r"conv_?transpose|upsampl|interpolate|pixel_?shuffle|unpool",
    "convolution": r"conv",
    "pooling": r"pool|^mean$",
    "attention": r"attention",
    "fully connected": r"linear",
    "addition": r"^__?i?r?add_*$|^add_?$",
    "concatenation": r"^cat$|^concat",
    "product": r"^__?i?r?mul_*$|^mul_?$|matmul|^bmm$",
    "normalization": r"norm",
    "activation": r"relu|elu$|silu|swish|sigmoid|tanh|softmax",
}
MERGED = {"normalization", "activation"}  # drawn with the layer before them


def trace(model: nn.Module, input_size: tuple[int, ...], *, depth: int = 1) -> Graph:
    """Run a model once, without numbers, and note how its layers are connected.

    Parameters
    ----------
    model : nn.Module
        Any network with one tensor as input; it is not changed.
    input_size : tuple of int
        Shape of one sample without the batch, e.g. (channels, height, width).
    depth : int
        How far to look into modules: what lies deeper is one node. Plain ``nn.Sequential`` and
        lists of modules do not count: they are always opened. Normalization and activation belong
        to the layer before them.

    Raises
    ------
    ValueError
        If the model cannot be run so: a wrong input size, or a forward function that needs numbers.

    Examples
    --------
    >>> from cnnlab import LeNet5
    >>> [node.kind for node in trace(LeNet5(), (1, 28, 28)).nodes.values()][:4]
    ['input', 'convolution', 'pooling', 'convolution']
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    tensors = [*model.parameters(), *model.buffers()]
    on_meta = {id(t): nn.Parameter(t.detach().to("meta"), t.requires_grad) for t in tensors}
    ghost = copy.deepcopy(model, on_meta).eval()  # what is in the memo is not copied
    recorder = Recorder()
    for name, module in boxes_of(ghost, depth):
        recorder.watch(name, module)
    x = torch.zeros(1, *input_size, device="meta")
    recorder.note("input", "input", "", None, x)
    try:
        with recorder:
            ghost(x)
    except Exception as error:
        raise ValueError(
            f"cannot trace {type(model).__name__} with an input of size {tuple(input_size)}: "
            f"{error}. Check the size; a forward function may depend on shapes, not on values."
        ) from error
    return Graph(recorder.nodes)


def boxes_of(module: nn.Module, depth: int, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """List the modules that become one node: those deep enough, or without parts of their own."""
    for name, child in module.named_children():
        if type(child) in (nn.Sequential, nn.ModuleList, nn.ModuleDict):  # subclasses are blocks
            yield from boxes_of(child, depth, f"{prefix}{name}.")
        elif depth == 1 or is_layer(child):
            yield f"{prefix}{name}", child
        else:
            yield from boxes_of(child, depth - 1, f"{prefix}{name}.")


def is_layer(module: nn.Module) -> bool:
    """Tell whether a module is one layer: without parts, or attention with its projections."""
    return isinstance(module, nn.MultiheadAttention) or not any(module.children())


class Recorder(TorchFunctionMode):
    """Notes each watched module and each function outside of them that passes a tensor on."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: dict[str, Node] = {}
        self._origin: dict[int, tuple[str, Tensor]] = {}  # id of a tensor -> node it came from
        self._uses: Counter[str] = Counter()
        self._within = 0  # how many watched modules are running
        self._sums = 0  # how often two results were added in them: once in a residual block

    def watch(self, name: str, module: nn.Module) -> None:
        """Note a module as one node whenever it runs."""
        plain = module.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            self._within += 1
            result = plain(*args, **kwargs)
            self._within -= 1
            if not self._within:
                self.note(name, *describe(module), (args, kwargs), result)
                self._sums = 0
            return result

        module.forward = forward  # type: ignore[method-assign]

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", "function")
        if not self._within:
            self.note(name.strip("_"), kind_of(name), "", (args, kwargs), result)
        elif kind_of(name) == "addition" and len(tensors_in(args)) == 2:
            self._sums += not any(isinstance(t, nn.Parameter) for t in tensors_in(args))
        return result

    def note(self, name: str, kind: str, kernel: str, inputs: Any, result: Any) -> None:
        """Add a node, or let the result count as its only input's if there is nothing to draw."""
        outputs = tensors_in(result)
        known = [self._origin[id(t)][0] for t in tensors_in(inputs) if id(t) in self._origin]
        sources = tuple(dict.fromkeys(known))
        if not outputs or not (sources or kind == "input"):
            return  # sizes, constants, parameters
        is_drawn = len(sources) > 1 or (kind and kind not in SYMBOLS)
        place = sources[0] if sources else name
        if is_drawn and kind not in MERGED:
            self._uses[name] += 1
            place = name if self._uses[name] == 1 else f"{name}_{self._uses[name]}"
            shape = tuple(outputs[0].shape[1:])
            shape = shape[::-1] if len(shape) == 2 else shape  # tokens: channels are the last
            self.nodes[place] = Node(place, kind or name, kernel, shape, sources, self._sums == 1)
        self._origin |= {id(t): (place, t) for t in outputs}  # a living tensor's id is its own


def tensors_in(value: Any) -> list[Tensor]:
    """Return all tensors in nested arguments or results."""
    found: list[Any] = []
    map_aggregate(value, found.append)
    return [part for part in found if isinstance(part, Tensor)]


def kind_of(name: str) -> str:
    """Return an operation's kind by its name; "" when there is nothing to draw."""
    return next((kind for kind, names in KINDS.items() if re.search(names, name.lower())), "")


def describe(module: nn.Module) -> tuple[str, str]:
    """Return kind and kernel; a block with a single layer that counts is that layer."""
    name = type(module).__name__
    if is_layer(module):
        own = name if any(True for _ in module.parameters()) else ""
        return kind_of(name) or own, kernel_of(module)
    parts = [describe(part) for part in module.modules() if not any(part.children())]
    counting = [part for part in parts if part[0] and part[0] not in MERGED]
    if len(counting) == 1:
        return counting[0]
    return (name if counting else ""), ""


def kernel_of(module: Any) -> str:
    """Write the sides of a layer's window, if it has one."""
    kernel = getattr(module, "kernel_size", ())
    return "×".join(map(str, (kernel, kernel) if isinstance(kernel, int) else kernel))
