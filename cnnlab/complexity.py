"""What a network costs: `summary` lists layers and parameters, `count_macs` multiply-adds."""

from __future__ import annotations

import contextlib
import copy
import io
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.models.layers import record_outputs
from cnnlab.runtime import format_table

__all__ = ["Summary", "count_macs", "summary"]

_RULE = "=" * 64


@dataclass(frozen=True)
class Summary:
    """A table of layers with totals that count every parameter once.

    Attributes
    ----------
    table : str
        One line per layer: type, output shape, parameters.
    total, trainable : int
        Numbers of parameters, shared ones counted once.
    note : str
        Why the table is not torchsummary's, if it is not.
    """

    table: str
    total: int
    trainable: int
    note: str = ""

    def __str__(self) -> str:
        totals = (
            f"Parameters: {self.total:,}, of which trainable: {self.trainable:,}; "
            f"as float32: {self.total * 4 / 2**20:.1f} MiB"
        )
        rule = "=" * max(map(len, self.table.splitlines()))
        return "\n".join(filter(None, [self.table, rule, totals, self.note]))


def summary(model: nn.Module, input_size: tuple[int, ...]) -> Summary:
    """List the layers of a model with torchsummary, without its side effects.

    torchsummary wants a CUDA device, changes BatchNorm statistics, uses up random numbers, leaves
    its hooks in place when it fails and counts shared layers twice. Here it gets a copy on the
    CPU in eval mode; the totals come from the parameters themselves.

    Parameters
    ----------
    model : nn.Module
        Any network with one tensor as input; it is not changed.
    input_size : tuple of int
        Shape of one sample without the batch: (channels, height, width).

    Raises
    ------
    ValueError
        If the model cannot take an input of that size.

    Examples
    --------
    >>> from cnnlab import LeNet5
    >>> print(summary(LeNet5(), (1, 28, 28)).total)
    61706
    """
    parameters = list(model.parameters())  # each tensor once, however often it is shared
    note = ""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            table = _torchsummary_table(_copy(model), input_size)
        except Exception as error:  # it fails in many ways; see the docstring
            note = f"(own table: torchsummary failed with {type(error).__name__})"
            table = _own_table(_copy(model), input_size)
    return Summary(
        table,
        sum(p.numel() for p in parameters),
        sum(p.numel() for p in parameters if p.requires_grad),
        note,
    )


def _copy(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).to("cpu").eval()


def _torchsummary_table(model: nn.Module, input_size: tuple[int, ...]) -> str:
    import torchsummary

    with contextlib.redirect_stdout(io.StringIO()) as text:
        torchsummary.summary(model, input_size, device="cpu")
    header, layers, *_ = text.getvalue().split(_RULE)  # its totals follow; ours are right
    return header.strip("-\n") + f"\n{_RULE}{layers.rstrip()}"


def _own_table(model: nn.Module, input_size: tuple[int, ...]) -> str:
    """List every layer without children, with the shape of its output for one batch."""

    def shape_of(output: Any) -> str:
        is_tensor = isinstance(output, Tensor)
        return str([-1, *output.shape[1:]]) if is_tensor else type(output).__name__

    layers = {name: layer for name, layer in model.named_modules() if not any(layer.children())}
    try:
        with record_outputs(model, list(layers), keep=shape_of) as shapes:
            model(torch.zeros(2, *input_size))
    except Exception as error:
        raise ValueError(
            f"{type(model).__name__} cannot take an input of size {tuple(input_size)}: {error}"
        ) from error
    rows = []
    for name, layer in layers.items():
        count = sum(parameter.numel() for parameter in layer.parameters())
        for shape in shapes[name]:
            rows.append((f"{name} ({type(layer).__name__})", shape, f"{count:,}"))
    return format_table(rows, ("Layer (type)", "Output Shape", "Param #"), ">>>")


def count_macs(model: nn.Module, input_size: tuple[int, ...]) -> int:
    """Count the multiply-adds of one image, in convolutions and matrix products.

    Parameters
    ----------
    model : nn.Module
        On the meta device (or small); put it into eval mode first.
    input_size : tuple of int
        (C, H, W).

    Examples
    --------
    >>> count_macs(nn.Conv2d(3, 8, kernel_size=3, padding=1), (3, 10, 10))
    21600
    """
    from torch.utils.flop_counter import FlopCounterMode

    device = next(model.parameters()).device
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, *input_size, device=device))
    return counter.get_total_flops() // 2  # it counts a multiplication and an addition as two
