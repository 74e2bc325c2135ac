"""The graph of a network, found by running it once.

The model runs without numbers (on PyTorch's meta device), so even large networks take little time
and no memory. Because it really runs, every forward function works, also one with ``if`` and loops.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from cnnlab.diagrams.graphs import SYMBOLS, Graph, Node

__all__ = ["on_meta", "trace"]

# What an operation is, told by the name of its class or function; the first that fits.
_KINDS = {
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
_LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)  # exactly these: subclasses are blocks
_MERGED = {"normalization", "activation"}  # drawn with the layer before them


def trace(
    model: nn.Module,
    input_size: tuple[int, ...],
    *,
    depth: int = 1,
    whole: tuple[type[nn.Module], ...] = (),
    merge: bool = True,
) -> Graph:
    """Run a model once, without numbers, and note how its layers are connected.

    Parameters
    ----------
    model : nn.Module
        Any network with one tensor as input; it is not changed.
    input_size : tuple of int
        Shape of one sample without the batch, e.g. (channels, height, width).
    depth : int
        How far to look into modules: what lies deeper is one node. Plain ``nn.Sequential`` and
        lists of modules do not count: they are always opened.
    whole : tuple of classes
        Modules that stay one node at any depth.
    merge : bool
        Whether normalization and activation belong to the layer before them.

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
    ghost = on_meta(model).eval()
    recorder = _Recorder(merge)
    for name, module in _boxes(ghost, depth, (nn.MultiheadAttention, *whole)):
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


def on_meta(model: nn.Module) -> nn.Module:
    """Return a copy without numbers: parameters and buffers keep their shapes only."""
    ghosts: dict[int, Any] = {
        id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in model.parameters()
    }
    ghosts |= {id(b): b.detach().to("meta") for b in model.buffers()}
    return copy.deepcopy(model, ghosts)  # what is in the memo is not copied


def _boxes(
    module: nn.Module, depth: int, whole: tuple[type, ...], prefix: str = ""
) -> Iterator[tuple[str, nn.Module]]:
    """List the modules that become one node: those deep enough, or without parts of their own."""
    for name, child in module.named_children():
        if type(child) in _LISTS:
            yield from _boxes(child, depth, whole, f"{prefix}{name}.")
        elif depth == 1 or isinstance(child, whole) or not any(child.children()):
            yield f"{prefix}{name}", child
        else:
            yield from _boxes(child, depth - 1, whole, f"{prefix}{name}.")


class _Recorder(TorchFunctionMode):
    """Notes each watched module and each function outside of them that passes a tensor on."""

    def __init__(self, merge: bool) -> None:
        super().__init__()
        self.nodes: dict[str, Node] = {}
        self._merged = _MERGED if merge else set()
        self._origin: dict[int, str] = {}  # id of a tensor -> the node it came from
        self._kept: list[Any] = []  # keeps tensors alive: an id must not be used twice
        self._uses: Counter[str] = Counter()
        self._within = 0  # how many watched modules are running

    def watch(self, name: str, module: nn.Module) -> None:
        def enter(module: nn.Module, args: Any) -> None:
            self._within += 1

        def leave(module: nn.Module, args: Any, kwargs: Any, result: Any) -> None:
            self._within -= 1
            if not self._within:
                self.note(name, *_describe(module), (args, kwargs), result)

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave, with_kwargs=True)

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if not self._within:
            name = getattr(function, "__name__", "function")
            self.note(name.strip("_"), _kind(name), "", (args, kwargs), result)
        return result

    def note(self, name: str, kind: str, detail: str, inputs: Any, result: Any) -> None:
        """Add a node, or let the result count as its only input's if there is nothing to draw."""
        tensors = [t for t in tree_leaves(result) if isinstance(t, Tensor)]
        origins = [self._origin[id(t)] for t in tree_leaves(inputs) if id(t) in self._origin]
        sources = tuple(dict.fromkeys(origins))
        if not tensors or not (sources or kind == "input"):
            return  # sizes, constants, parameters
        self._kept.append((inputs, result))
        nothing_meets = len(sources) == 1 and (not kind or kind in SYMBOLS)
        if nothing_meets or kind in self._merged:
            place = sources[0]
        else:
            self._uses[name] += 1
            place = name if self._uses[name] == 1 else f"{name}_{self._uses[name]}"
            shape = _channels_first(tensors[0], kind)
            self.nodes[place] = Node(place, kind or name, detail, shape, sources)
        self._origin.update({id(t): place for t in tensors})


def _channels_first(output: Tensor, kind: str) -> tuple[int, ...]:
    shape = tuple(output.shape[1:])
    channels_last = len(shape) == 3 and kind == "fully connected"  # it acts on the last axis
    return (shape[2], *shape[:2]) if channels_last else shape


def _kind(name: str) -> str:
    """Tell an operation's kind by its name; "" when there is nothing to draw."""
    return next((kind for kind, names in _KINDS.items() if re.search(names, name.lower())), "")


def _describe(module: nn.Module) -> tuple[str, str]:
    """Return kind and detail; a block with a single layer that counts is that layer."""
    if isinstance(module, nn.MultiheadAttention) or not any(module.children()):
        own = "" if not any(True for _ in module.parameters()) else type(module).__name__
        return _kind(type(module).__name__) or own, _detail(module)
    leaves = [_describe(m) for m in module.modules() if not any(m.children())]
    counting = [leaf for leaf in leaves if leaf[0] and leaf[0] not in _MERGED]
    if len(counting) == 1:
        return counting[0]
    return (type(module).__name__, "") if counting else ("", "")


def _detail(module: Any) -> str:
    """Write kernel, stride and groups of a layer, as far as it has them."""
    words = []
    if kernel := getattr(module, "kernel_size", None):
        words.append("×".join(map(str, _pair(kernel))))
    if (stride := _pair(getattr(module, "stride", 1) or 1)) != (1, 1):
        arrow = "↑" if "Transpose" in type(module).__name__ else "/"
        words.append(arrow + str(stride[0]))
    if (groups := getattr(module, "groups", 1)) > 1:
        depthwise = groups == module.in_channels
        words.append("depthwise" if depthwise else f"{groups} groups")
    if size := getattr(module, "output_size", None):
        words.append("to " + "×".join(map(str, _pair(size))))
    if factor := getattr(module, "scale_factor", None):
        words.append(f"×{factor:g}")
    return " ".join(words)


def _pair(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)
