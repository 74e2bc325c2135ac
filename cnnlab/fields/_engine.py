"""The exact receptive field of every layer: the network's own code runs, on boxes of pixels."""

from __future__ import annotations

import itertools
import os
import traceback
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.node import map_aggregate
from torch.overrides import TorchFunctionMode

from cnnlab.evaluation import eval_mode
from cnnlab.fields import _rules
from cnnlab.fields._boxes import Boxes, constant, image_boxes
from cnnlab.fields._results import Field, ReceptiveFields

QUESTIONS = {"__get__", "__len__", "dim", "is_floating_point", "ndimension", "numel", "size"}
CONSTANTS = {"new_empty", "new_full", "new_ones", "new_tensor", "new_zeros"}
CONSTANTS |= {"empty_like", "full_like", "ones_like", "zeros_like"}
DECISIONS = {"__bool__", "__float__", "__index__", "__int__", "item", "numpy", "tolist"}

WAY_OUT = "; cnnlab.fields.gradient_support measures the field of one position instead"


class FieldError(ValueError):
    """The field of a layer is unknown: the message names the layer, operation and line."""


def receptive_field(
    model: nn.Module,
    input_size: tuple[int, ...] = (3, 224, 224),
    *,
    ignore_global: bool = False,
) -> ReceptiveFields:
    """Return what every layer of a network sees of its input.

    The network's code runs, but on boxes instead of numbers: the box that each element of each
    feature map sees is followed from the image to the output. Borders, ceil mode, padding that
    depends on the size, uneven bins, branches and groups of channels are exact. The network
    counts as being in eval mode (BatchNorm with stored statistics, no dropout); hooks are not
    called, and the model itself is left as it was.

    Parameters
    ----------
    model : nn.Module
        Maps images (1, C, H, W) to anything; or sequences (1, C, L), or volumes (1, C, D, H, W).
        Decisions that depend on shapes (``if x.shape[2] > 8``, loops, assertions) are taken as
        for an input of this size.
    input_size : tuple of int
        (C, H, W) of one image, in pixels; (C, L) or (C, D, H, W).
    ignore_global : bool
        Leave out what sees all positions at once: a branch of squeeze and excitation adds nothing
        to the path that it scales, and a normalization by the whole map counts as one of single
        pixels. What remains is the field of the convolutional path. Layers that have nothing else
        (the fully connected ones of the branch, the classifier) are still called global, and
        have size 0.

    Returns
    -------
    ReceptiveFields
        A mapping from layer name to :class:`~cnnlab.fields.Field`, in execution order. Names are
        those of ``model.named_modules()``; an operation outside of layers has the name of its
        function behind that of the module that calls it (``layer1.0.add``). What runs again gets
        ``:2``, ``:3`` …

    Raises
    ------
    FieldError
        If an operation has no rule, or the course of the code depends on the values of pixels.

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
    >>> receptive_field(nn.Sequential(nn.Conv1d(2, 1, 5), nn.AvgPool1d(2)), (2, 30))
    layer  operation  output  size  stride  start
    0      Conv1d     1×26    5     1       0
    1      AvgPool1d  1×13    6     2       0
    """
    if not 2 <= len(input_size) <= 4 or min(input_size) < 1:
        wanted = "(channels, height, width), (channels, length) or (channels, depth, height, width)"
        raise ValueError(f"input_size must be {wanted}, got {input_size!r}")
    recorder = Recorder(model, ignore_global)
    undisturbed = torch.random.fork_rng(devices=[])
    try:
        with eval_mode(model), torch.no_grad(), torch.device("cpu"), undisturbed:
            recorder.run(model, image_boxes(*input_size))
    except FieldError:
        raise
    except Exception as error:
        what = f"{type(model).__name__}{last_place(traceback.extract_tb(error.__traceback__))}"
        raise FieldError(f"the fields of {what} are unknown: {error}{WAY_OUT}") from error
    return ReceptiveFields(recorder.fields, input_size)


class StandIn(Tensor):
    """A tensor that depends on the image: boxes in place of numbers.

    Its one number, NaN, is expanded. Compiled code computes with it, unseen, and so betrays itself.
    """

    boxes: Boxes
    plain: Tensor  # answers questions about shape and type
    is_view: bool  # shares its memory with another tensor

    @classmethod
    def carrying(cls, boxes: Boxes, is_view: bool = False) -> StandIn:
        """Return a tensor of the boxes' shape."""
        plain = torch.tensor(torch.nan).expand(boxes.shape)
        tensor = plain.as_subclass(cls)
        tensor.boxes, tensor.plain, tensor.is_view = boxes, plain, is_view
        return tensor


class Recorder(TorchFunctionMode):
    """Replaces every operation on tensors that depend on the image by one on boxes."""

    def __init__(self, model: nn.Module, ignore_global: bool) -> None:
        super().__init__()
        self._ignore_global = ignore_global
        self.fields: dict[str, Field] = {}
        self._names = {module: name for name, module in model.named_modules()}
        self._owner = ""  # the innermost running module with parts of its own, with a dot behind
        self._layer: nn.Module | None = None  # the running module without such parts

    def run(self, model: nn.Module, boxes: Boxes) -> None:
        """Run a network; every call of a module in it goes through `call`."""
        image, plain, call = StandIn.carrying(boxes), nn.Module.__call__, self.call
        try:
            nn.Module.__call__ = lambda *args, **kwargs: call(*args, **kwargs)  # type: ignore
            with self:
                refuse_nan(model.forward(image))
        finally:
            nn.Module.__call__ = plain  # type: ignore

    def call(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Run a module in place of ``nn.Module.__call__``, and note what its output sees."""
        if self._layer is not None or module not in self._names:
            return module.forward(*args, **kwargs)
        name, owner = self._names[module], self._owner
        self._owner, self._layer = f"{name}.", module if is_layer(module) else None
        result = module.forward(*args, **kwargs)
        self._owner, self._layer = owner, None
        refuse_nan(result)
        self._note(self._free(name), type(module).__name__, result)
        return result

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name, kwargs = getattr(func, "__name__", type(func).__name__), kwargs or {}
        refuse_nan((args, kwargs))
        if not boxes_in((args, kwargs)):
            return func(*args, **kwargs)
        if name in QUESTIONS | CONSTANTS:
            plain_args, plain_kwargs = without_stand_ins((args, kwargs), "plain")
            answer = func(*plain_args, **plain_kwargs)
            if name in CONSTANTS or not isinstance(answer, Tensor):
                return answer
        layer, kind = self._owner + name.strip("_"), name
        if self._layer is not None:
            layer, kind = self._owner.rstrip("."), type(self._layer).__name__
        layer = self._free(layer)
        try:
            if name in DECISIONS:
                raise ValueError("the course of the code depends on the values of pixels")
            result = self._apply(func, layer, args, kwargs)
        except Exception as error:
            why = f"there is no rule for {error}" if isinstance(error, KeyError) else str(error)
            what = f"{layer!r} ({kind}){last_place(traceback.extract_stack())}"
            raise FieldError(f"the field of layer {what} is unknown: {why}{WAY_OUT}") from error
        if self._layer is None:
            self._note(layer, name, result)
        return result

    def _apply(self, func: Callable[..., Any], layer: str, args: Any, kwargs: Any) -> Any:
        """Do an operation on boxes; name the layer in the reason if it makes the field global."""
        name, key = func.__name__, func.__name__.strip("_")
        result = _rules.apply(func, key, *without_stand_ins((args, kwargs), "boxes"))
        if name.startswith("__i") or (name.endswith("_") and not name.startswith("__")):
            target = args[0]
            if target.is_view and result is not target.boxes:
                raise KeyError(f"{name} on a view of another tensor")
            target.boxes = result
            return target
        before = boxes_in((args, kwargs))
        was_global = any(boxes.reason for boxes in before)

        def stand_in(value: Any) -> Any:
            if not isinstance(value, Boxes):
                return value
            if value.reason and not was_global:
                value = replace(value, reason=f"{layer}: {value.reason}")
                if self._ignore_global:
                    same = [boxes for boxes in before if boxes.shape == value.shape]
                    value = (same or [constant(value.shape, len(value.axes), value.reason)])[0]
            return StandIn.carrying(value, key in _rules.MOVEMENTS)

        return map_aggregate(result, stand_in)

    def _note(self, name: str, operation: str, result: Any) -> None:
        """Add the field of a layer; the first one of several outputs."""
        for boxes in boxes_in(result)[:1]:
            self.fields[name] = Field(name, operation, boxes)

    def _free(self, name: str) -> str:
        """Return a name, with ``:2``, ``:3`` … if it is taken."""
        names = itertools.chain([name], (f"{name}:{count}" for count in itertools.count(2)))
        return next(free for free in names if free not in self.fields)


def without_stand_ins(value: Any, part: str) -> Any:
    """Return nested arguments with the boxes or the plain tensors of all stand-ins."""
    return map_aggregate(value, lambda v: getattr(v, part) if isinstance(v, StandIn) else v)


def boxes_in(value: Any) -> list[Boxes]:
    """Return all boxes in nested arguments or results."""
    return [part.boxes for part in _rules.leaves(value) if isinstance(part, StandIn)]


def refuse_nan(value: Any) -> None:
    """Raise an error if code without rules has computed a tensor from a stand-in."""
    for part in _rules.leaves(value):
        is_plain = isinstance(part, Tensor) and not isinstance(part, StandIn | nn.Parameter)
        if is_plain and not part.is_meta and bool(part.isnan().any()):
            raise ValueError("there is no rule for compiled code, which no operation is seen of")


def is_layer(module: nn.Module) -> bool:
    """Tell whether a module counts as one operation: from torch.nn, or without parts."""
    from_torch = type(module).__module__.startswith("torch.nn")
    return not any(module.children()) or (from_torch and not isinstance(module, nn.Sequential))


def last_place(frames: Iterable[traceback.FrameSummary]) -> str:
    """Return the last line of a trace that lies outside of torch and of this folder."""
    libraries = tuple(os.path.dirname(file) + os.sep for file in (torch.__file__, __file__))
    own = [f for f in frames if not f.filename.startswith((*libraries, "<"))]
    return f" at {own[-1].filename}:{own[-1].lineno} ({own[-1].line})" if own else ""
