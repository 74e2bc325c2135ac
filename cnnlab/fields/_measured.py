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
from cnnlab.fields._windows import each

IDENTITIES = {
    "relu", "relu_", "relu6", "hardtanh", "leaky_relu", "elu", "selu", "celu", "gelu", "silu",
    "mish", "sigmoid", "tanh", "hardswish", "hardsigmoid", "softplus", "prelu", "dropout",
    "dropout1d", "dropout2d", "dropout3d", "batch_norm", "layer_norm",
}  # fmt: skip


@dataclass(frozen=True)
class EffectiveField:
    """How strongly each pixel moves the central output of a layer.

    Attributes
    ----------
    map : Tensor
        (H, W), sums to one; (L) of a sequence.
    width : int
        Side in pixels of the square, centered on the theoretical field, that holds 95 % of it.
    theoretical : tuple of int
        Size of the theoretical field inside the image, (rows, columns).
    """

    map: Tensor = field(repr=False)
    width: int
    theoretical: tuple[int, ...]


def effective_receptive_field(
    model: nn.Module,
    layer: str,
    images: Tensor | None = None,
    input_size: tuple[int, ...] = (3, 224, 224),
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
            center = tuple(side // 2 for side in output.shape[2:])
            (gradient,) = torch.autograd.grad(channels_at(output, center).sum(), x)
            strength += gradient.double().abs().sum((0, 1)).cpu()
    if strength.sum() == 0:
        raise ValueError(f"no image moves the center of {layer!r}: all gradients are zero")
    box = receptive_field(model, (images.shape[1], *strength.shape))[layer].at(*center)
    strength = strength / strength.sum()
    return EffectiveField(strength, width_of(strength, box.center), box.size)


def channels_at(output: Tensor, position: tuple[int, ...]) -> Tensor:
    """Return all channels at one position of a feature map, (N, C)."""
    index: tuple[Any, ...] = (..., *position)
    return output[index]


def width_of(strength: Tensor, center: tuple[Any, ...], held: float = 0.95) -> int:
    """Return the side of the smallest square around ``center`` that holds a share of the map."""
    places = torch.meshgrid(*map(torch.arange, strength.shape), indexing="ij")
    apart = [(place - float(c)).abs() for place, c in zip(places, center, strict=True)]
    distance = torch.stack(apart).amax(0)  # (H, W)
    within = (d for d in distance.unique() if strength[distance <= d].sum() >= held)
    return int(2 * next(within)) + 1


def gradient_support(
    model: nn.Module, input_size: tuple[int, ...], layer: str, position: tuple[int, ...]
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
        (C, H, W); (C, L) or (C, D, H, W).
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
        (gradient,) = torch.autograd.grad(channels_at(output, position).sum(), x)
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
        if name.startswith("max_pool"):
            total = sum_pool(*args, **kwargs)
            return (total, total) if name.endswith("indices") else total
        if name.startswith("max_unpool"):
            return spread_out(*args, **kwargs)
        if name.startswith("lp_pool"):
            average = getattr(F, name.replace("lp", "avg"))
            return average(args[0], *args[2:], **kwargs)
        if name.startswith("adaptive_max_pool"):
            return getattr(F, name.replace("max", "avg"))(*args[:2])
        return func(*args, **kwargs)


def sum_pool(
    x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Tensor:  # fmt: skip
    """Sum where the network takes a maximum."""
    n, stride = x.ndim - 2, stride or kernel_size
    pool, conv = getattr(F, f"max_pool{n}d"), getattr(F, f"conv{n}d")
    sides = pool(x, kernel_size, stride, padding, dilation, ceil_mode).shape[2:]
    ones = x.new_ones(x.shape[1], 1, *each(kernel_size, n))
    padded = F.pad(x, (0, max(each(stride, n))) * n)  # a last window may stand over the end
    total = conv(padded, ones, None, stride, padding, dilation, x.shape[1])
    return total[tuple(map(slice, (*total.shape[:2], *sides)))]


def spread_out(
    x: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,
    output_size: Any = None,
) -> Tensor:  # fmt: skip
    """Give a value back to its whole window, because any pixel may have been the maximum."""
    n = x.ndim - 2
    ones, spread = x.new_ones(x.shape[1], 1, *each(kernel_size, n)), f"conv_transpose{n}d"
    full = getattr(F, spread)(x, ones, None, stride or kernel_size, padding, 0, x.shape[1])
    sides = list(output_size or full.shape)[-n:]
    missing = [side - has for side, has in zip(sides, full.shape[2:], strict=True)]
    return F.pad(full, [number for side in reversed(missing) for number in (0, side)])
