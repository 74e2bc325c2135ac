"""Figures of receptive fields: boxes on a picture, what a unit really uses, how fields grow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor
from torch.nn import functional as F

from cnnlab.fields import Box, ReceptiveFields
from cnnlab.style import COLOURS, styled

__all__ = ["plot_effective_fields", "plot_field_boxes", "plot_field_growth"]


def plot_field_boxes(image: Tensor, boxes: Mapping[str, Box], ax: Axes | None = None) -> Axes:
    """Draw boxes on a picture; where a box leaves the picture, it lies on the grey padding.

    Parameters
    ----------
    image : Tensor
        Shape (3, H, W), uint8 or floats in [0, 1].
    boxes : mapping
        Words for the legend -> box, from ``field.at(y, x, clipped=False)``.
    ax : Axes, optional
        Where to draw.
    """
    _, height, width = image.shape
    with styled():
        ax = ax or plt.subplots(figsize=(8, 4.6))[1]
        ax.set_facecolor("#E4E4E4")
        ax.imshow(image.permute(1, 2, 0).numpy(), extent=(0, width, height, 0))
        for (label, box), colour in zip(boxes.items(), COLOURS, strict=False):
            where = (box.left, box.top), box.width, box.height
            ax.add_patch(Rectangle(*where, fill=False, ec="white", lw=5))
            ax.add_patch(Rectangle(*where, fill=False, ec=colour, lw=2.5, label=label))
        every = [Box(0, 0, height, width), *boxes.values()]
        margin = 0.03 * max(height, width)
        ax.set_xlim(min(b.left for b in every) - margin, max(b.right for b in every) + margin)
        ax.set_ylim(max(b.bottom for b in every) + margin, min(b.top for b in every) - margin)
        ax.set(xlabel="column (px)", ylabel="row (px)")
        ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return ax


def plot_effective_fields(image: Tensor, maps: Mapping[str, Tensor], box: Box) -> np.ndarray:
    """Fade out what a unit hardly uses, inside the box that it could use, and draw profiles.

    Parameters
    ----------
    image : Tensor
        Shape (3, H, W), uint8 or floats in [0, 1].
    maps : mapping
        Title -> mean absolute gradient of the unit, (H, W), see `effective_receptive_field`.
    box : Box
        The field in theory, drawn dashed.

    Returns
    -------
    array of Axes
        One for each map, and one for the profiles.
    """
    pixels = (image / 255 if image.dtype == torch.uint8 else image).permute(1, 2, 0)  # (H, W, 3)
    height, width, _ = pixels.shape
    with styled():
        columns = len(maps) + 1
        shape = {"width_ratios": [1] * len(maps) + [1.25]}
        axes = plt.subplots(1, columns, figsize=(10, 3.8), gridspec_kw=shape)[1]
        for ax, (title, map_), colour in zip(axes, maps.items(), COLOURS, strict=False):
            smooth = F.avg_pool2d(map_[None], 9, stride=1, padding=4)[0]  # single pixels flicker
            shares = (smooth / smooth.quantile(0.98)).clamp(max=1).sqrt()  # faint parts, too
            shown = 1 - (1 - pixels) * (0.1 + 0.9 * shares[..., None])
            ax.imshow(shown.numpy(), extent=(0, width, height, 0))
            edge: dict[str, Any] = {"fill": False, "ec": COLOURS[5], "lw": 2, "ls": "--"}
            ax.add_patch(Rectangle((box.left, box.top), box.width, box.height, **edge))
            ax.set(title=title, xlabel="column (px)")
            profile = map_.sum(dim=0) / map_.sum()
            axes[-1].plot(profile, color=colour, label=title.split("\n")[0])
        axes[-1].axvline(box.left, color=COLOURS[5], ls="--", label="field in theory")
        axes[-1].axvline(box.right, color=COLOURS[5], ls="--")
        axes[0].set_ylabel("row (px)")
        axes[-1].set(xlabel="column (px)", ylabel="share of the gradient", xlim=(0, width))
        axes[-1].set_ylim(bottom=0)
        axes[-1].legend(loc="lower center", bbox_to_anchor=(0.5, 1))
    return axes


def plot_field_growth(networks: Mapping[str, ReceptiveFields], ax: Axes | None = None) -> Axes:
    """Draw how the field grows from layer to layer, up to the first layer that sees everything.

    Parameters
    ----------
    networks : mapping
        Name -> its fields.
    ax : Axes, optional
        Where to draw.
    """
    with styled():
        ax = ax or plt.subplots(figsize=(9, 4.4))[1]
        for (name, fields), colour in zip(networks.items(), COLOURS, strict=False):
            layers = [f for f in fields.values() if "Conv" in f.operation or "Pool" in f.operation]
            sizes = [1, *(field.size[0] for field in layers if not field.is_global)]
            largest = np.maximum.accumulate(sizes)  # shortcuts and side branches see less
            ax.step(range(len(largest)), largest, where="post", color=colour)
            ax.plot(len(largest) - 1, largest[-1], "o", c=colour, label=f"{name}: {largest[-1]} px")
        side = next(iter(networks.values())).input_size[1]
        ax.axhline(side, color="grey", ls=":")
        at_right: dict[str, Any] = {
            "ha": "right",
            "va": "bottom",
            "transform": ax.get_yaxis_transform(),
        }
        ax.text(1, side, f"picture: {side} px", color="dimgrey", **at_right)
        ax.set_yscale("log", base=2)
        ax.yaxis.set_major_formatter("{x:.0f}")
        ax.set(xlabel="convolutions and poolings so far", ylabel="side of the field (px)")
        ax.legend(loc="lower right")
    return ax
