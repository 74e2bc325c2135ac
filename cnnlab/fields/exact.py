"""The exact receptive field of every layer of any network that torch.fx can trace."""

from __future__ import annotations

import itertools
import operator
import os
import re
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from cnnlab.fields import rules as field_rules
from cnnlab.fields.boxes import Boxes, picture
from cnnlab.fields.results import Field, ReceptiveFields

__all__ = ["FieldError", "receptive_field"]

QUESTIONS = {"__get__", "__len__", "dim", "is_floating_point", "ndimension", "numel", "size"}
CONSTANTS = {"new_empty", "new_full", "new_ones", "new_tensor", "new_zeros"}
CONSTANTS |= {"empty_like", "full_like", "ones_like", "zeros_like"}
CALLS = {"call_function", "call_method", "call_module"}


class FieldError(ValueError):
    """The field of a layer cannot be told: the message names the layer, operation and line."""


class FieldTensor(Tensor):
    """A tensor without numbers that carries boxes through the code of a network."""

    boxes: Boxes
    moved: bool = False  # shares its memory with another tensor

    @staticmethod
    def carrying(boxes: Boxes, moved: bool = False) -> FieldTensor:
        """Return a tensor of the boxes' shape."""
        tensor = torch.empty(boxes.shape, device="meta").as_subclass(FieldTensor)
        tensor.boxes, tensor.moved = boxes, moved
        return tensor

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name, kwargs = func.__name__, kwargs or {}
        if name in QUESTIONS or name in CONSTANTS:
            real = {"device": "cpu"} if name in CONSTANTS else {}
            with torch._C.DisableTorchFunctionSubclass():
                answer = func(*args, **{**kwargs, **real})
            if real or not isinstance(answer, Tensor):
                return answer
        plain_args, plain_kwargs = map_aggregate((args, kwargs), without_tensor)
        key = name.strip("_")
        result = field_rules.apply(func, key, plain_args, plain_kwargs)
        if name.startswith("__i") or (name.endswith("_") and not name.startswith("__")):
            return overwritten(args[0], result, name)
        view = key in field_rules.MOVEMENTS.split()
        return map_aggregate(result, lambda v: cls.carrying(v, view) if isinstance(v, Boxes) else v)


def without_tensor(value: Any) -> Any:
    """Return the boxes of a field tensor, and anything else as it is."""
    return value.boxes if isinstance(value, FieldTensor) else value


def overwritten(target: FieldTensor, boxes: Boxes, name: str) -> FieldTensor:
    """Do an operation in place, unless it writes into a part of another tensor."""
    if target.moved and boxes is not target.boxes:
        raise KeyError(f"{name} on a view of another tensor")
    target.boxes = boxes
    return target


class LayerTracer(fx.Tracer):
    """Records the operations of a network, the lines they stand on and what each module returns.

    Hooks on the modules are not called.
    """

    def __init__(self, lines: bool = False) -> None:
        super().__init__()
        self.record_stack_traces = lines  # where the operations stand; it takes its time
        self.outputs: dict[str, list[str]] = {}  # node name -> modules that return it

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        """Trace into a module, or make it one node if it comes from torch.nn."""
        result = super().call_module(m, m.forward, args, kwargs)
        path = self.path_of_module(m)
        if isinstance(result, fx.Proxy) and not self.is_leaf_module(m, path):
            self.outputs.setdefault(result.node.name, []).append(path)
        return result


def receptive_field(
    model: nn.Module, input_size: tuple[int, int, int] = (3, 224, 224)
) -> ReceptiveFields:
    """Return what every layer of a network sees of its input.

    The network is not run: torch.fx lists its operations, and the box that each element of each
    feature map sees is followed from the picture to the output. Borders, ceil mode, uneven bins,
    branches and groups of channels are exact. The network counts as being in eval mode
    (BatchNorm with stored statistics, no dropout); the model itself is left as it was.

    Parameters
    ----------
    model : nn.Module
        Maps pictures (1, C, H, W) to anything.
    input_size : tuple of int
        (C, H, W) of one picture, in pixels.

    Returns
    -------
    ReceptiveFields
        A mapping from layer name to :class:`~cnnlab.fields.results.Field`, in execution order.
        Names are those of ``model.named_modules()``; operations outside of modules have the name
        torch.fx gives them (``add``, ``flatten``). A module that runs again gets ``:2``, ``:3`` …

    Raises
    ------
    FieldError
        If torch.fx cannot trace the network, or an operation has no rule.

    Notes
    -----
    The size of a chain of layers follows Araujo, Norris and Sim (2019), *Computing receptive
    fields of convolutional neural networks*, Distill.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3))
    >>> fields = receptive_field(net, (1, 28, 28))
    >>> fields["2"].size, fields["2"].stride, fields["2"].start
    ((8, 8), (2, 2), (-1, -1))
    >>> fields["2"].at(0, 0)
    Box(top=0, left=0, bottom=7, right=7)
    """
    if len(input_size) != 3 or min(input_size) < 1:
        raise ValueError(f"input_size must be (channels, height, width), got {input_size!r}")
    quietly = torch.random.fork_rng(devices=[])
    with in_eval_mode(model), torch.no_grad(), torch.device("cpu"), quietly:
        graph, returned_by = traced(model)
        values: dict[fx.Node, Any] = {}
        fields: dict[str, Field] = {}
        for node in graph.nodes:
            values[node] = value = checked(model, node, values, input_size)
            if isinstance(value, FieldTensor):
                names = [(label(node), operation(model, node))] if node.op in CALLS else []
                for path in returned_by.get(node.name, []):
                    names.append((path, type(model.get_submodule(path)).__name__))
                for name, kind in names:
                    name = unused(name, fields)
                    fields[name] = Field(name, kind, replace(value.boxes), depth(node, name))
    return ReceptiveFields(fields, input_size)


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Switch every module to eval mode, and each back to what it was."""
    modes = {module: module.training for module in model.modules()}
    try:
        for module in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def traced(model: nn.Module) -> tuple[fx.Graph, dict[str, list[str]]]:
    """Return the operations in order, and which modules return the result of which operation."""
    tracer = LayerTracer()
    try:
        return tracer.trace(model), tracer.outputs
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        place = last_place((f.filename, f.lineno or 0, f.line or "") for f in frames)
        raise FieldError(
            f"torch.fx cannot trace {type(model).__name__}{place}: {error}. Only code whose "
            "course does not depend on the picture can be traced"
        ) from error


def checked(model: nn.Module, node: fx.Node, values: dict[fx.Node, Any], size: Any) -> Any:
    """Compute one node; name the layer and the line in an error, the layer in a reason."""
    try:
        result = computed(model, node, values, size)
    except Exception as error:
        again = {node.name: node for node in LayerTracer(lines=True).trace(model).nodes}
        trace = again[node.name].stack_trace or ""
        frames = re.findall(r'File "(.+)", line (\d+), .*\n(.*)', trace)
        place = last_place((file, int(line), code) for file, line, code in frames)
        what = f"layer {label(node)!r} ({operation(model, node)}){place}"
        why = f"there is no rule for {error}" if isinstance(error, KeyError) else str(error)
        raise FieldError(f"the field of {what} cannot be told: {why}") from error
    if not any(reasons(values[source]) for source in node.all_input_nodes):
        for boxes in boxes_in(result):
            boxes.reason = boxes.reason and f"{label(node)}: {boxes.reason}"
    return result


def computed(model: nn.Module, node: fx.Node, values: dict[fx.Node, Any], size: Any) -> Any:
    """Run the code of one node on field tensors."""
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
    if node.op == "placeholder":
        if any(isinstance(value, FieldTensor) for value in values.values()):
            if node.args:
                return node.args[0]  # the default value of a further argument
            raise ValueError("the network has more than one input")
        return FieldTensor.carrying(picture(*size))
    if node.op == "get_attr":
        return operator.attrgetter(str(node.target))(model)
    if node.op == "call_module":
        return model.get_submodule(str(node.target)).forward(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    return node.target(*args, **kwargs) if callable(node.target) else args


def boxes_in(value: Any) -> list[Boxes]:
    """Return all boxes in nested results."""
    found: list[Boxes] = []
    map_aggregate(value, lambda v: found.append(v.boxes) if isinstance(v, FieldTensor) else None)
    return found


def reasons(value: Any) -> bool:
    """Return whether a result was global already."""
    return any(boxes.reason for boxes in boxes_in(value))


def label(node: fx.Node) -> str:
    """Return a module's path, or the name torch.fx gave to another operation."""
    return str(node.target) if node.op == "call_module" else node.name


def depth(node: fx.Node, name: str) -> int:
    """Return how many modules a layer lies in, itself included."""
    owners = list(node.meta.get("nn_module_stack") or [])
    is_function = node.op != "call_module" and name == node.name
    return owners[-1].count(".") + 2 if owners and is_function else name.count(".") + 1


def operation(model: nn.Module, node: fx.Node) -> str:
    """Return the type of a module or the name of a function."""
    if node.op == "call_module":
        return type(model.get_submodule(str(node.target))).__name__
    return getattr(node.target, "__name__", str(node.target))


def unused(name: str, taken: dict[str, Field]) -> str:
    """Return the name, with ``:2``, ``:3`` … if a module runs again."""
    again = (f"{name}:{count}" for count in itertools.count(2))
    return next(free for free in itertools.chain([name], again) if free not in taken)


def last_place(frames: Iterable[tuple[str, int, str]]) -> str:
    """Return the last line of a trace that lies outside of torch and of this module."""
    library = os.path.dirname(torch.__file__) + os.sep
    own = [f for f in frames if not f[0].startswith(library) and f[0] != __file__]
    own = [f for f in own if not f[0].startswith("<")]
    return f" at {own[-1][0]}:{own[-1][1]} ({own[-1][2].strip()})" if own else ""
