"""Receptive fields by experiment: which pixels move an output at all, and how strongly."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from cnnlab.complexity import record_outputs
from cnnlab.fields._engine import receptive_field
from cnnlab.fields._windows import pair

IDENTITIES = {
    "relu", "relu_", "relu6", "hardtanh", "leaky_relu", "elu", "selu", "celu", "gelu", "silu",
    "mish", "sigmoid", "tanh", "hardswish", "hardsigmoid", "softplus", "prelu", "dropout",
    "dropout2d", "batch_norm", "layer_norm",
}  # fmt: skip


@dataclass(frozen=True)
class EffectiveField:
    """How strongly each pixel moves the central output of a layer.

    Attributes
    ----------
    map : Tensor
        (H, W), sums to one.
    width : int
        Side in pixels of the square, centered on the theoretical field, that holds 95 % of it.
    theoretical : tuple of int
        Rows and columns of the theoretical field inside the image.
    """

    map: Tensor = field(repr=False)
    width: int
    theoretical: tuple[int, int]


def effective_receptive_field(
    model: nn.Module,
    layer: str,
    images: Tensor | None = None,
    input_size: tuple[int, int, int] = (3, 224, 224),
    *,
    seed: int = 0,
) -> EffectiveField:
    """Measure how strongly each pixel moves the central unit of a layer.

    The map is the gradient of that unit (summed over channels) with respect to the pixels, its
    absolute value averaged over images. Source: Luo, Li, Urtasun and Zemel (2016), *Understanding
    the effective receptive field in deep convolutional neural networks*, NeurIPS.

    Parameters
    ----------
    model : nn.Module
        Used in eval mode and left as it was.
    layer : str
        A name from ``model.named_modules()``; its output must be (N, C, H, W).
    images : Tensor, optional
        (N, C, H, W), preprocessed. Sixteen images of noise of ``input_size`` if None.
    seed : int
        Draws the noise.

    Raises
    ------
    ValueError
        If there is no such layer, or no pixel moves its center.

    Examples
    --------
    >>> chain = nn.Sequential(*[nn.Conv2d(1, 1, 5, padding=2) for _ in range(8)])
    >>> seen = effective_receptive_field(chain, "7", input_size=(1, 65, 65))
    >>> seen.theoretical, seen.width < 33
    ((33, 33), True)
    """
    if images is None:
        images = torch.randn(16, *input_size, generator=torch.Generator().manual_seed(seed))
    device = next((p.device for p in model.parameters()), images.device)
    strength = torch.zeros(images.shape[2:], dtype=torch.float64)
    with torch.enable_grad():
        for batch in images.split(8):
            x = batch.detach().to(device).requires_grad_()
            output = outputs_of(model, layer, x)[-1]
            row, column = output.shape[2] // 2, output.shape[3] // 2
            (gradient,) = torch.autograd.grad(output[:, :, row, column].sum(), x)
            strength += gradient.double().abs().sum((0, 1)).cpu()
    if strength.sum() == 0:
        raise ValueError(f"no image moves the center of {layer!r}: all gradients are zero")
    box = receptive_field(model, (images.shape[1], *strength.shape))[layer].at(row, column)
    strength = strength / strength.sum()
    return EffectiveField(strength, width_of(strength, box.center), (box.height, box.width))


def width_of(strength: Tensor, center: tuple[Any, Any], held: float = 0.95) -> int:
    """Return the side of the smallest square around ``center`` that holds a share of the map."""
    rows, columns = (
        torch.arange(n) - float(c) for n, c in zip(strength.shape, center, strict=True)
    )
    distance = torch.maximum(rows.abs()[:, None], columns.abs()[None, :])  # (H, W)
    within = (d for d in distance.unique() if strength[distance <= d].sum() >= held)
    return int(2 * next(within)) + 1


def gradient_support(
    model: nn.Module, input_size: tuple[int, int, int], layer: str, position: tuple[int, int]
) -> Tensor:
    """Find the receptive field by experiment: the pixels whose gradient is not zero.

    A gradient can vanish although the pixel is connected: behind a dead ReLU, a maximum that is
    elsewhere, or weights that cancel. So the question is put to a copy of the network in which
    all parameters are positive and the non-linear operations are left out, in float64.

    Parameters
    ----------
    model : nn.Module
        Maps (1, C, H, W) to anything; it is copied, not changed.
    input_size : tuple of int
        (C, H, W).
    layer : str
        A name from ``model.named_modules()``; if the module runs several times, the first run.
    position : tuple of int
        Row and column of the output whose field is wanted; all its channels together.

    Returns
    -------
    Tensor
        bool, (H, W): the pixels that the position sees.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 1, 3, dilation=2), nn.ReLU())
    >>> gradient_support(net, (1, 6, 6), "1", (0, 0))[0].tolist()
    [True, False, True, False, True, False]
    """
    twin = copy.deepcopy(model).double().eval()
    for parameter in twin.parameters():
        parameter.requires_grad_(False).fill_(1 / max(1, parameter[:1].numel()))
    x = torch.ones(1, *input_size, dtype=torch.float64, requires_grad=True)
    with Linearized(), torch.enable_grad():
        output = outputs_of(twin, layer, x)[0]
        row, column = position
        (gradient,) = torch.autograd.grad(output[:, :, row, column].sum(), x)
    return (gradient[0] != 0).any(0)


def outputs_of(model: nn.Module, layer: str, x: Tensor) -> list[Tensor]:
    """Run the network and return the outputs of a layer, one for each of its runs."""
    with record_outputs(model, [layer]) as outputs:
        model(x)
    return outputs[layer]


class Linearized(TorchFunctionMode):
    """Makes a network linear: no activation, no normalization, sums in place of maxima.

    The output then depends on every input that it is connected to, and it can be seen.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if name in IDENTITIES:
            return args[0] if args else kwargs["input"]
        if name in ("max_pool2d", "max_pool2d_with_indices"):
            total = sum_pool2d(*args, **kwargs)
            return (total, total) if name.endswith("indices") else total
        if name == "max_unpool2d":
            return spread_out(*args, **kwargs)
        if name == "lp_pool2d":
            return F.avg_pool2d(args[0], *args[2:], **kwargs)
        if name == "adaptive_max_pool2d":
            return F.adaptive_avg_pool2d(*args[:2])
        return func(*args, **kwargs)


def sum_pool2d(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor:  # fmt: skip
    """Sum where the network takes a maximum."""
    kernel, stride = pair(kernel_size), stride or kernel_size
    height, width = F.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode).shape[2:]
    ones = x.new_ones(x.shape[1], 1, *kernel)
    room = max(pair(stride))  # a last window may stand over the end
    padded = F.pad(x, (0, room, 0, room))
    total = F.conv2d(padded, ones, None, stride, padding, dilation, x.shape[1])
    return total[..., :height, :width]


def spread_out(
    x: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """Give a value back to its whole window, because any pixel may have been the maximum."""
    ones = x.new_ones(x.shape[1], 1, *pair(kernel_size))
    full = F.conv_transpose2d(x, ones, None, stride or kernel_size, padding, 0, x.shape[1])
    height, width = (output_size or full.shape)[-2:]
    return F.pad(full, (0, width - full.shape[3], 0, height - full.shape[2]))
