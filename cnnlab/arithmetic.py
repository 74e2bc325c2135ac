"""Convolution arithmetic, drawn: where a kernel looks, and which zeros it finds there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from textwrap import fill
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.patches import Patch
from torch import Tensor

from cnnlab.grids import GAP, Grid, Kind, plot_grids
from cnnlab.style import styled
from cnnlab.transposed import TransposedConvolution, conv_size, transposed_convolution

__all__ = ["GUIDE", "Setting", "plot_arithmetic", "plot_recipe"]


class Setting(NamedTuple):
    """The numbers of a convolution or a transposed one, on a square image."""

    size: int
    kernel: int
    stride: int = 1
    padding: int = 0
    output_padding: int = 0
    dilation: int = 1
    transposed: bool = False


# The animations of "A guide to convolution arithmetic for deep learning" (Dumoulin and Visin 2016).
GUIDE = {
    "no padding, no strides": Setting(4, 3),
    "arbitrary padding, no strides": Setting(5, 4, padding=2),
    "half padding, no strides": Setting(5, 3, padding=1),
    "full padding, no strides": Setting(5, 3, padding=2),
    "no padding, strides": Setting(5, 3, stride=2),
    "padding, strides": Setting(5, 3, stride=2, padding=1),
    "padding, strides (odd)": Setting(6, 3, stride=2, padding=1),
    "no padding, dilation": Setting(7, 3, dilation=2),
    "no padding, no strides, transposed": Setting(2, 3, transposed=True),
    "arbitrary padding, no strides, transposed": Setting(6, 4, padding=2, transposed=True),
    "half padding, no strides, transposed": Setting(5, 3, padding=1, transposed=True),
    "full padding, no strides, transposed": Setting(7, 3, padding=2, transposed=True),
    "no padding, strides, transposed": Setting(2, 3, stride=2, transposed=True),
    "padding, strides, transposed": Setting(3, 3, stride=2, padding=1, transposed=True),
    "padding, strides, transposed (odd)": Setting(3, 3, 2, 1, output_padding=1, transposed=True),
}


def plot_recipe(view: TransposedConvolution, step: int | None = None) -> plt.Axes:
    """Draw a transposed convolution as an ordinary one: every step of the recipe with its numbers.

    Parameters
    ----------
    view : TransposedConvolution
        Of one image with one channel, and one kernel.
    step : int, optional
        Position of the kernel, counted along the rows: its cells and the output that it computes
        get a frame, and later outputs are not there yet. Beyond the last, it stays at the last.

    Raises
    ------
    ValueError
        If there are more images or channels than one.

    Examples
    --------
    >>> view = transposed_convolution(torch.ones(2, 2), torch.ones(3, 3), stride=2, padding=1)
    >>> ax = plot_recipe(view, step=4)
    >>> [text.get_text() for text in ax.texts][-1]
    'output'
    """
    if (len(view.x), *view.kernel.shape[:2]) != (1, 1, 1):
        raise ValueError("only one image with one channel, and one kernel, can be drawn")
    parts = (view.x, view.stretched, view.padded, view.flipped_kernel, view.output)
    x, stretched, padded, kernel, output = (part.reshape(part.shape[-2:]) for part in parts)
    kinds = _kinds(view)
    footprint = here = None
    if step is not None:
        place = divmod(min(step, output.numel() - 1), output.shape[1])
        here = _mask(output, place, (1, 1), (1, 1))
        footprint = _mask(padded, place, tuple(kernel.shape), view.dilation)
        later = torch.arange(output.numel()).reshape(output.shape) > step
        output = output.double().masked_fill(later, torch.nan)
    grids = [
        Grid("input", x, torch.full(x.shape, Kind.INPUT)),
        Grid(f"stretched: z = {view.zeros_inserted}", stretched, kinds[0]),
        Grid(f"padded: p′ = {view.border}", padded, kinds[1], footprint),
        Grid("kernel, rotated", kernel, torch.full(kernel.shape, Kind.KERNEL)),
        Grid("output", output, torch.full(output.shape, Kind.OUTPUT), here),
    ]
    columns = 5 if sum(part.shape[-1] for part in parts) <= 18 else 3
    return plot_grids(grids, columns=columns, symbols=["→", "→", "∗", "="])


def plot_arithmetic(settings: Mapping[str, Setting] = GUIDE, columns: int = 4) -> np.ndarray:
    """Draw small multiples: input with its zeros, kernel in its middle position, and output.

    Parameters
    ----------
    settings : mapping
        Name -> Setting, a panel each. By default those of the guide to convolution arithmetic.
    columns : int
        Panels in a row.

    Returns
    -------
    array of Axes
        Shape (rows, columns).

    Examples
    --------
    >>> axes = plot_arithmetic({"up by two": Setting(2, 2, stride=2, transposed=True)}, columns=1)
    >>> axes[0, 0].get_title().splitlines()
    ['up by two', '2 → 4: k=2, s=2, p=0']
    """
    rows = -(-len(settings) // columns)
    with styled():
        figure, axes = plt.subplots(rows, columns, squeeze=False)
        for ax in axes.flat:
            ax.axis("off")
        for ax, (name, setting) in zip(axes.flat, settings.items(), strict=False):
            padded, output = panel = _panel(setting)
            width = 0.2 * (len(padded.values) + len(output.values)) + GAP  # cells of 0.2 inches
            plot_grids(panel, symbols="→", numbers=False, legend=False, width=width, ax=ax)
            sides = f"{setting.size} → {len(output.values)}"
            numbers = f"k={setting.kernel}, s={setting.stride}, p={setting.padding}"
            more = ", d=2" if setting.dilation > 1 else ", q=1" if setting.output_padding else ""
            ax.set_title(f"{fill(name, 26)}\n{sides}: {numbers}{more}", fontsize=11)
        used = axes.flat[: len(settings)]  # cells of one size: all panels show the same area
        right = max(ax.get_xlim()[1] for ax in used)
        bottom = max(ax.get_ylim()[0] for ax in used)
        for ax in used:
            ax.set(xlim=(-0.1, right), ylim=(bottom, -0.1), anchor="N")
        high = 2.5 * bottom / right + 0.7
        figure.set_size_inches(2.6 * columns, high * rows + 0.4)
        stretched = any(each.transposed for each in settings.values())
        kinds = [
            kind
            for kind in Kind
            if kind != Kind.KERNEL and (stretched or kind != Kind.INSERTED_ZERO)
        ]
        patches = [Patch(facecolor=k.colour, edgecolor="grey", label=k.label) for k in kinds]
        figure.legend(handles=patches, loc="outside lower center", ncols=4)
    return axes


def _panel(setting: Setting) -> tuple[Grid, Grid]:
    """Return the input with its zeros and the kernel's frame, and the output with its own."""
    size, k, s, p, q, d, transposed = setting
    view = transposed_convolution(torch.ones(size, size), torch.ones(k, k), s, p, q, d)
    if transposed:
        side, (_, kinds), step = view.output_size[0], _kinds(view), 1
    else:
        side, step = conv_size(size, k, s, p, d), s
        kinds = F.pad(torch.full((size, size), Kind.INPUT), (p, p, p, p), value=Kind.BORDER)
    middle, output = (side - 1) // 2, torch.ones(side, side)
    footprint = _mask(kinds, (middle * step, middle * step), (k, k), (d, d))
    here = _mask(output, (middle, middle), (1, 1), (1, 1))
    return (
        Grid("", torch.zeros(kinds.shape), kinds, footprint),
        Grid("", output, torch.full(output.shape, Kind.OUTPUT), here),
    )


def _kinds(view: TransposedConvolution) -> tuple[Tensor, Tensor]:
    """Say what each cell of `stretched` and of `padded` is."""
    ones = replace(view, x=torch.ones_like(view.x), dimensions=2)
    stretched = (1 - ones.stretched.int()) * Kind.INSERTED_ZERO
    border = view.border if isinstance(view.border, tuple) else (view.border, view.border)
    kinds = torch.full(ones.padded.shape, Kind.BORDER)
    top, left = border
    inner = stretched[max(0, -top) :, max(0, -left) :][: len(kinds), : kinds.shape[1]]
    top, left = max(0, top), max(0, left)
    kinds[top : top + len(inner), left : left + inner.shape[1]] = inner
    return stretched, kinds


def _mask(
    image: Tensor, corner: tuple[int, int], kernel: tuple[int, ...], dilation: tuple[int, int]
) -> Tensor:
    """Mark the cells of an image that a kernel sees from its upper left corner on."""
    (top, left), (k_h, k_w), (d_h, d_w) = corner, kernel, dilation
    mask = torch.zeros(image.shape, dtype=torch.bool)
    mask[top : top + (k_h - 1) * d_h + 1 : d_h, left : left + (k_w - 1) * d_w + 1 : d_w] = True
    return mask
