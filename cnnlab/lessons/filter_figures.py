"""Figures of lesson 08: kernels and their measures, heat maps, controls, feature spaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from scipy.stats import binomtest
from torch import Tensor
from torch.nn import functional as F

from cnnlab.lessons.filters import KernelStatistics, rank_channels
from cnnlab.plotting import COLORS, plot_filters, show_images, styled

__all__ = [
    "overlay", "plot_channel", "plot_correlations", "plot_embeddings", "plot_explanations",
    "plot_kernel_sets", "plot_kernel_statistics", "plot_layers", "plot_movement", "plot_pointing",
    "plot_responses",
]  # fmt: skip

_MEASURES = {
    "color": "share of energy in color",
    "orientation": "share of energy in one direction",
    "frequency": "strongest wave (cycles a pixel)",
}


def overlay(images: Tensor, maps: Tensor) -> Tensor:
    """Lay maps over pictures: dark where a map is low, bright where it is high.

    Parameters
    ----------
    images : Tensor
        uint8, shape (B, 3, H, W).
    maps : Tensor
        Shape (B, H, W); each is scaled to its own range.

    Returns
    -------
    Tensor
        Floats in [0, 1], shape (B, 3, H, W).

    Examples
    --------
    >>> overlay(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.rand(2, 8, 8)).shape
    torch.Size([2, 3, 8, 8])
    """
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    scaled = (maps - low) / (high - low).clamp(min=1e-12)
    heat = torch.from_numpy(plt.get_cmap("inferno")(scaled.numpy())[..., :3])  # (B, H, W, 3)
    gray = images.float().mean(dim=1, keepdim=True) / 255
    return 0.35 * gray + 0.65 * heat.permute(0, 3, 1, 2).float()


def plot_kernel_sets(sets: Mapping[str, Tensor], columns: int = 8) -> np.ndarray:
    """Draw sets of first-layer kernels (K, 3, k, k) side by side; gray is zero.

    Returns
    -------
    array of Axes
        One a set.
    """
    rows = max(-(-len(weight) // columns) for weight in sets.values())
    with styled():
        width = 10 / len(sets)
        size = (10, width * rows / columns + 0.4)
        figure, axes = plt.subplots(1, len(sets), figsize=size, squeeze=False)
        figure.get_layout_engine().set(wspace=0.05)
        for ax, (name, weight) in zip(axes[0], sets.items(), strict=True):
            plot_filters(weight, columns=columns, ax=ax)
            ax.set_title(name)
    return axes[0]


def plot_kernel_statistics(sets: Mapping[str, KernelStatistics]) -> np.ndarray:
    """Draw a dot for every kernel: three measures, one row a set."""
    with styled():
        _, axes = plt.subplots(1, 3, figsize=(10, 0.9 + 0.7 * len(sets)), sharey=True)
        for ax, (field, label) in zip(axes, _MEASURES.items(), strict=True):
            for row, statistics in enumerate(sets.values()):
                values = getattr(statistics, field)
                aside = torch.linspace(-0.25, 0.25, len(values))  # so that dots do not hide others
                order = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))
                color = COLORS[row % len(COLORS)]
                ax.plot(values, row + aside[order], "o", color=color, ms=5, alpha=0.6)
                ax.plot([values.median()] * 2, [row - 0.4, row + 0.4], color="black", lw=2)
            ax.set(xlabel=label, xlim=(0, 0.72 if field == "frequency" else 1))
        axes[0].set_yticks(range(len(sets)), list(sets))
        axes[0].set_ylim(len(sets) - 0.4, -0.6)
    return axes


def plot_responses(
    picture: Tensor, kernels: Tensor, responses: Tensor, titles: Sequence[str]
) -> Axes:
    """Draw a picture and some kernels, and below each kernel its response; gray is zero.

    Parameters
    ----------
    picture : Tensor
        uint8, shape (3, H, W).
    kernels : Tensor
        Shape (K, 3, k, k).
    responses : Tensor
        Shape (K, H, W).
    titles : sequence of str
        K names of the kernels.
    """
    large = F.interpolate(kernels.detach().cpu(), size=picture.shape[1:])
    maps = responses[:, None].expand_as(large)
    rows = [0.5 + 0.5 * x / x.abs().amax(dim=(1, 2, 3), keepdim=True) for x in (large, maps)]
    blank = torch.ones(1, *picture.shape)
    tiles = torch.cat([picture[None] / 255, rows[0], blank, rows[1]])
    names = ["picture", *titles, "", *["response"] * len(titles)]
    return show_images(tiles, names, columns=1 + len(titles))


def plot_layers(maps: Mapping[str, Tensor], columns: int = 8) -> Axes:
    """Draw the strongest channels of each layer for one picture: one row a layer.

    Parameters
    ----------
    maps : mapping
        Layer -> maps (1, C, h, w), as `activations` gives them.
    columns : int
        Channels a layer.
    """
    tiles, titles = [], []
    for layer, of_layer in maps.items():
        strongest = rank_channels(of_layer[0])[:columns]
        tiles.append(F.interpolate(of_layer[:, strongest], size=(64, 64))[0])  # (columns, 64, 64)
        titles += [f"{layer} · {channel}" for channel in strongest.tolist()]
    values = torch.cat(tiles)
    low, high = values.amin(dim=(1, 2), keepdim=True), values.amax(dim=(1, 2), keepdim=True)
    scaled = ((values - low) / (high - low).clamp(min=1e-12)).numpy()
    colored = torch.from_numpy(plt.get_cmap("viridis")(scaled)[..., :3])  # (N, 64, 64, 3)
    return show_images(colored.permute(0, 3, 1, 2), titles, columns=columns)


def plot_channel(image: Tensor, map: Tensor, patches: Tensor, title: str = "") -> Axes:
    """Draw a picture, where a channel responds in it, and the patches that excite it most.

    Parameters
    ----------
    image : Tensor
        uint8, shape (3, H, W).
    map : Tensor
        The channel's map of it, shape (h, w).
    patches : Tensor
        uint8, shape (N, 3, 64, 64), as `top_patches` gives them.
    title : str
        Above the picture.
    """
    large = F.interpolate(map[None, None], size=image.shape[1:])[0]
    pair = torch.cat([image[None] / 255, overlay(image[None], large)])
    tiles = torch.cat([F.interpolate(pair, size=patches.shape[2:]), patches / 255])
    names = ["picture", "its map", *["strongest"] * len(patches)]
    return show_images(tiles, names, columns=len(tiles), title=title)


def plot_explanations(
    images: Tensor, maps: Mapping[str, Tensor], names: Sequence[str], title: str = ""
) -> Axes:
    """Draw pictures and their maps: one row a picture, one column a method.

    Parameters
    ----------
    images : Tensor
        uint8, shape (B, 3, H, W).
    maps : mapping
        Method -> maps (B, H, W).
    names : sequence of str
        Below each picture.
    title : str
        Above the figure.
    """
    columns = [images / 255, *(overlay(images, each) for each in maps.values())]
    tiles = torch.stack(columns, dim=1).flatten(0, 1)  # (B · columns, 3, H, W)
    titles = [text for name in names for text in (name, *maps)]
    return show_images(tiles, titles, columns=len(columns), title=title)


def plot_correlations(
    table: Mapping[str, Sequence[float]], steps: Sequence[str], ax: Axes | None = None
) -> Axes:
    """Draw how much of each map's order is left while layer after layer loses its weights.

    Parameters
    ----------
    table : mapping
        Method -> rank correlation with the original map at each step.
    steps : sequence of str
        What was shuffled, from left to right.
    ax : Axes, optional
        Where to draw.
    """
    with styled():
        ax = ax or plt.subplots(figsize=(9, 3.8))[1]
        for number, (name, values) in enumerate(table.items()):
            marker = "os^Dv*P"[number % 7]
            ax.plot(range(len(steps)), values, marker + "-", color=COLORS[number], ms=8, label=name)
        ax.axhline(0, color="gray", lw=1)
        ax.set_xticks(range(len(steps)), list(steps))
        ax.set(
            xlabel="layers whose weights were shuffled",
            ylabel="rank correlation",
            ylim=(None, 1.05),
        )
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_pointing(hits: Mapping[str, Tensor], ax: Axes | None = None) -> Axes:
    """Draw the share of hits of each pointer with its 95 % interval (Wilson).

    Parameters
    ----------
    hits : mapping
        Name -> bool (N,), drawn from top to bottom.
    ax : Axes, optional
        Where to draw.
    """
    with styled():
        ax = ax or plt.subplots(figsize=(9, 1 + 0.5 * len(hits)))[1]
        for row, hit in enumerate(hits.values()):
            interval = binomtest(int(hit.sum()), len(hit)).proportion_ci(method="wilson")
            color = COLORS[row % len(COLORS)]
            ax.plot([interval.low, interval.high], [row, row], color=color, lw=3)
            ax.plot(hit.double().mean(), row, "o", color=color, ms=9)
            ax.text(interval.high + 0.01, row, f"{hit.double().mean():.0%}", va="center")
        ax.set_yticks(range(len(hits)), list(hits))
        ax.set(xlabel="share of pictures in which the highest point lies on the insect")
        ax.set(xlim=(0, 1.08), ylim=(len(hits) - 0.4, -0.6))
        ax.xaxis.set_major_formatter("{x:.0%}")
    return ax


def plot_embeddings(
    panels: Mapping[str, Any], labels: Tensor, classes: Sequence[str]
) -> np.ndarray:
    """Draw points (N, 2) of several feature spaces side by side, colored by class.

    Returns
    -------
    array of Axes
        One a panel.
    """
    with styled():
        _, axes = plt.subplots(1, len(panels), figsize=(11, 11 / len(panels) + 0.6), squeeze=False)
        for ax, (name, points) in zip(axes[0], panels.items(), strict=True):
            for number, label in enumerate(classes):
                own = np.asarray(points)[(labels == number).numpy()]
                ax.plot(
                    *own.T, "os^Dv"[number % 5], color=COLORS[number], ms=5, alpha=0.7, label=label
                )
            ax.set(title=name, xticks=[], yticks=[], xlabel="first axis", ylabel="second axis")
        axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5), handletextpad=0.1)
    return axes[0]


def plot_movement(moved: Mapping[str, float], ax: Axes | None = None) -> Axes:
    """Draw how far the filters of each convolution moved, the first layer at the top."""
    with styled():
        ax = ax or plt.subplots(figsize=(9, 0.8 + 0.3 * len(moved)))[1]
        ax.barh(range(len(moved)), list(moved.values()), color=COLORS[0], height=0.7)
        ax.set_yticks(range(len(moved)), list(moved), fontsize=11)
        ax.invert_yaxis()
        ax.set_xlabel("distance moved, as a share of the filters' length")
        ax.xaxis.set_major_formatter("{x:.1%}")
    return ax
