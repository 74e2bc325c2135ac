"""Lesson 08, sections 1 to 5: what filters have learned, and which images excite them.

In the order of use: `kernel_statistics` measures the kernels of a first layer; `stages` names the
layers whose maps are worth a look; `find_peaks` finds where each channel responds most, and
`top_patches` cuts out what it saw there. The functions that begin with ``plot`` draw the results.
Outputs of layers are recorded with ``cnnlab.models.layers.record_outputs``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.evaluation import model_device
from cnnlab.fields import Field
from cnnlab.models.layers import record_outputs
from cnnlab.plotting import COLORS, show_images, styled

__all__ = [
    "KernelStatistics",
    "Peaks",
    "colorize",
    "find_peaks",
    "kernel_statistics",
    "plot_distances",
    "plot_embeddings",
    "plot_kernel_statistics",
    "plot_layers",
    "plot_responses",
    "sample_photographs",
    "stages",
    "top_patches",
]


def sample_photographs(size: int) -> Tensor:
    """Return scikit-learn's two photographs, a Chinese temple and a flower, as squares.

    Returns
    -------
    Tensor
        uint8, shape (2, 3, size, size).

    Examples
    --------
    >>> sample_photographs(64).shape
    torch.Size([2, 3, 64, 64])
    """
    pixels = torch.from_numpy(np.stack(load_sample_images().images)).permute(0, 3, 1, 2)
    height, width = pixels.shape[-2:]  # 427 × 640
    left = (width - height) // 2
    square = pixels[..., left : left + height].float()
    small = F.interpolate(square, size=(size, size), mode="bilinear", antialias=True)
    return small.round().to(torch.uint8)


# ------------------------------------------------------------------------------- first kernels


class KernelStatistics(NamedTuple):
    """What can be measured in kernels (K, C, k, k); each field has shape (K,).

    Attributes
    ----------
    color : share of the energy that is not gray, from 0 to 1
    orientation : share of the spectral energy within 22.5° of the strongest wave, from 0 to 1
    angle : direction in which the strongest wave runs, 0 ≤ angle < 180 degrees, 90 is down
    frequency : of the strongest wave, in cycles per pixel, from 0 to 0.71
    """

    color: Tensor
    orientation: Tensor
    angle: Tensor
    frequency: Tensor


def kernel_statistics(weight: Tensor, spectrum_size: int = 32) -> KernelStatistics:
    """Measure color, orientation and frequency of the kernels of a first layer.

    Energy is the sum of squares; by Parseval's theorem it is the same in the spectrum. The mean
    of each color channel is subtracted before the spectrum: it has no direction.

    Parameters
    ----------
    weight : Tensor
        Shape (K, 3, k, k).
    spectrum_size : int
        Side of the spectrum; kernels are padded with zeros to this size.

    Examples
    --------
    >>> stripes = torch.cos(torch.arange(8) * torch.pi / 2).expand(1, 3, 8, 8)  # period: 4 pixels
    >>> [round(value.item(), 2) for value in kernel_statistics(stripes)]
    [0.0, 0.87, 0.0, 0.25]
    """
    kernels = weight.detach().cpu().double()
    gray = kernels.mean(dim=1, keepdim=True).expand_as(kernels)
    color = 1 - gray.square().sum(dim=(1, 2, 3)) / kernels.square().sum(dim=(1, 2, 3))
    waves = kernels - kernels.mean(dim=(2, 3), keepdim=True)
    spectrum = torch.fft.fft2(waves, s=(spectrum_size, spectrum_size))
    energy = spectrum.abs().square().sum(dim=1).flatten(1)  # (K, size²)
    steps = torch.fft.fftfreq(spectrum_size, dtype=torch.float64)
    fy, fx = (f.flatten() for f in torch.meshgrid(steps, steps, indexing="ij"))
    angles = torch.rad2deg(torch.atan2(fy, fx)) % 180  # f and -f are the same wave
    strongest = energy.argmax(dim=1)
    difference = (angles - angles[strongest, None]).abs()  # (K, size²)
    near = torch.minimum(difference, 180 - difference) <= 22.5
    orientation = (energy * near).sum(dim=1) / energy.sum(dim=1)
    frequency = torch.hypot(fy, fx)[strongest]
    return KernelStatistics(color, orientation, angles[strongest], frequency)


@styled()
def plot_kernel_statistics(sets: Mapping[str, KernelStatistics]) -> np.ndarray:
    """Draw one dot per kernel and a line at the median: one panel per measure, one row per set."""
    labels = {
        "color": "share of energy in color",
        "orientation": "share of energy in one direction",
        "frequency": "strongest wave (cycles per pixel)",
    }
    _, axes = plt.subplots(1, 3, figsize=(10, 0.9 + 0.7 * len(sets)), sharey=True)
    for ax, (measure, label) in zip(axes, labels.items(), strict=True):
        for row, statistics in enumerate(sets.values()):
            values = getattr(statistics, measure)
            heights = row + torch.linspace(-0.25, 0.25, len(values))  # so that no dot hides another
            ax.plot(values, heights, "o", color=COLORS[row % len(COLORS)], ms=5, alpha=0.6)
            ax.plot([values.median()] * 2, [row - 0.4, row + 0.4], color="black", lw=2)
        ax.set(xlabel=label, xlim=(0, 0.72 if measure == "frequency" else 1))
    axes[0].set_yticks(range(len(sets)), list(sets))
    axes[0].set_ylim(len(sets) - 0.4, -0.6)
    return axes


def plot_responses(
    image: Tensor, kernels: Tensor, responses: Tensor, titles: Sequence[str]
) -> Axes:
    """Draw an image and some kernels, and below each kernel its response; gray is zero.

    Parameters
    ----------
    image : Tensor
        uint8, shape (3, H, W).
    kernels : Tensor
        Shape (K, 3, k, k).
    responses : Tensor
        Shape (K, H, W).
    titles : sequence of str
        K names of the kernels.
    """
    large = F.interpolate(kernels, size=image.shape[1:])
    maps = responses[:, None].expand_as(large)
    rows = [0.5 + 0.5 * x / x.abs().amax(dim=(1, 2, 3), keepdim=True) for x in (large, maps)]
    blank = torch.ones(1, *image.shape)
    tiles = torch.cat([image[None] / 255, rows[0], blank, rows[1]])
    names = ["image", *titles, "", *["response"] * len(titles)]
    return show_images(tiles, names, columns=1 + len(titles))


# -------------------------------------------------------------------------------- feature maps


@torch.no_grad()
def stages(model: nn.Module, X: Tensor) -> list[str]:
    """Return the last layer of the stem and of each stage: those whose maps are worth a look.

    The stem ends before the second convolution. A stage is all layers whose maps have the same
    size (Lin et al. 2017, *Feature pyramid networks*, *CVPR*, section 3); whole blocks are
    preferred to the layers inside them. Poolings, containers that end with one, and maps of a
    single position are left out.

    Parameters
    ----------
    model : nn.Module
        The network. One image is sent through it.
    X : Tensor
        Preprocessed images, shape (B, 3, H, W).

    Raises
    ------
    ValueError
        If no convolution returns maps (B, C, h, w) with more than one position.

    Examples
    --------
    >>> from cnnlab import TinyResNet
    >>> stages(TinyResNet(), torch.zeros(1, 3, 64, 64))
    ['relu', 'layer1', 'layer2', 'layer3', 'layer4']
    """
    modules, clock = dict(model.named_modules()), itertools.count()
    names = [name for name in modules if name]  # without the model itself

    def time_and_size(output: Any) -> tuple[int, torch.Size]:
        return next(clock), getattr(output, "shape", torch.Size())[2:]

    with record_outputs(model, names, keep=time_and_size) as calls:
        model(X[:1].to(model_device(model)))
    in_order = sorted((*own[-1], name) for name, own in calls.items() if own)
    convolved = {size for _, size, name in in_order if isinstance(modules[name], nn.Conv2d)}
    stem, last = "", dict[torch.Size, str]()
    convolutions, pooled = 0, False
    for _, size, name in in_order:
        convolutions += isinstance(modules[name], nn.Conv2d)
        if not list(modules[name].children()):  # a container comes after its last layer
            pooled = type(modules[name]).__module__ == nn.MaxPool2d.__module__
        if pooled or size not in convolved or size.numel() == 1:
            continue
        depth = name.count(".")
        if convolutions == 1 and depth <= (stem or name).count("."):
            stem = name
        if depth <= last.get(size, name).count("."):
            last[size] = name
    if not last:
        raise ValueError(f"no convolution of {type(model).__name__} returns maps (B, C, h, w)")
    return list(dict.fromkeys([stem, *last.values()]))


def colorize(maps: Tensor, colormap: str = "viridis") -> Tensor:
    """Return maps (N, h, w) as images (N, 3, h, w) in [0, 1], each scaled to its own range.

    Examples
    --------
    >>> colorize(torch.rand(5, 8, 8)).shape
    torch.Size([5, 3, 8, 8])
    """
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    scaled = (maps - low) / (high - low).clamp(min=1e-12)
    colors = plt.get_cmap(colormap)(scaled.cpu().numpy())[..., :3]  # (N, h, w, 3)
    return torch.from_numpy(colors).permute(0, 3, 1, 2).float()


def plot_layers(maps: Mapping[str, Tensor], columns: int = 8) -> Axes:
    """Draw the channels of each layer with the largest mean activation: one row per layer.

    Parameters
    ----------
    maps : mapping
        Layer -> maps of one image, shape (1, C, h, w).
    columns : int
        Channels per layer.
    """
    tiles, titles = [], []
    for layer, of_layer in maps.items():
        strongest = of_layer[0].mean(dim=(1, 2)).topk(columns).indices
        tiles.append(F.interpolate(of_layer[:, strongest], size=(64, 64))[0])  # (columns, 64, 64)
        titles += [f"{layer} · {channel}" for channel in strongest.tolist()]
    return show_images(colorize(torch.cat(tiles)), titles, columns=columns)


# ------------------------------------------------------------------------ what excites a channel


class Peaks(NamedTuple):
    """The strongest response of every channel to every image; each field has shape (N, C)."""

    values: Tensor
    rows: Tensor
    columns: Tensor


@torch.no_grad()
def find_peaks(
    model: nn.Module, layers: Sequence[str], batches: Sequence[Tensor]
) -> dict[str, Peaks]:
    """Find where each channel of some layers responds most to each image.

    Parameters
    ----------
    model : nn.Module
        The network.
    layers : sequence of str
        Names of layers that return maps (B, C, h, w).
    batches : sequence of Tensor
        Preprocessed images, each of shape (B, 3, H, W).

    Returns
    -------
    dict
        Layer -> Peaks, whose rows and columns count positions in the layer's map.

    Examples
    --------
    >>> model = nn.Sequential(nn.Identity(), nn.Conv2d(3, 2, 1))
    >>> peaks = find_peaks(model, ["0"], [torch.eye(4).expand(5, 3, 4, 4)])["0"]
    >>> peaks.values.shape, int(peaks.rows[0, 0]), int(peaks.columns[0, 0])
    (torch.Size([5, 3]), 0, 0)
    """

    def strongest(maps: Tensor) -> Tensor:
        values, places = maps.flatten(2).max(dim=2)  # (B, C)
        width = maps.shape[-1]
        return torch.stack([values, places // width, places % width]).cpu()  # (3, B, C)

    with record_outputs(model, layers, keep=strongest) as outputs:
        for X in batches:
            model(X.to(model_device(model)))
    return {name: Peaks(*torch.cat(found, dim=1)) for name, found in outputs.items()}


def top_patches(
    images: Tensor, peaks: Peaks, field: Field, channel: int, count: int = 8, size: int = 64
) -> Tensor:
    """Cut out what a channel saw where it responded most, the strongest response first.

    Parameters
    ----------
    images : Tensor
        The images behind the peaks, uint8 (N, 3, H, W).
    peaks : Peaks
        Of the layer, from `find_peaks`.
    field : Field
        Of the same layer, from ``receptive_field`` for images of this size.
    channel : int
        Which one.
    count : int
        Number of images; one patch of each.
    size : int
        Side of the patches. Where a patch is not square, the rest is white.

    Returns
    -------
    Tensor
        uint8, shape (count, 3, size, size).

    Examples
    --------
    >>> from cnnlab import receptive_field
    >>> model = nn.Sequential(nn.Conv2d(3, 2, 3))
    >>> images = torch.zeros(5, 3, 16, 16, dtype=torch.uint8)
    >>> peaks = find_peaks(model, ["0"], [images.float()])["0"]
    >>> top_patches(images, peaks, receptive_field(model, (3, 16, 16))["0"], 1, count=4).shape
    torch.Size([4, 3, 64, 64])
    """
    values, rows, columns = (part[:, channel] for part in peaks)
    patches = torch.full((count, 3, size, size), 255, dtype=torch.uint8)
    for patch, i in zip(patches, values.topk(count).indices, strict=True):
        box = field.at(int(rows[i]), int(columns[i]))
        seen = images[i][:, box.top : box.bottom, box.left : box.right]
        scale = size / max(box.height, box.width)
        height, width = (max(1, round(scale * side)) for side in (box.height, box.width))
        top, left = (size - height) // 2, (size - width) // 2
        large = F.interpolate(seen[None].float(), size=(height, width))[0]
        patch[:, top : top + height, left : left + width] = large
    return patches


# ------------------------------------------------------------------------------- fine-tuning


@styled()
def plot_distances(distances: Mapping[str, float], ax: Axes | None = None) -> Axes:
    """Draw how far the filters of each convolution moved, the first layer at the top.

    Parameters
    ----------
    distances : mapping
        Layer -> length of the change, as a share of the length of the filters.
    ax : Axes, optional
        Where to draw.
    """
    ax = ax or plt.subplots(figsize=(9, 0.8 + 0.3 * len(distances)))[1]
    ax.barh(list(distances), list(distances.values()), color=COLORS[0], height=0.7)
    ax.tick_params(axis="y", labelsize=11)
    ax.invert_yaxis()
    ax.set_xlabel("distance moved, as a share of the filters' length")
    ax.xaxis.set_major_formatter("{x:.1%}")
    return ax


@styled()
def plot_embeddings(
    panels: Mapping[str, Any], labels: Tensor, classes: Sequence[str]
) -> np.ndarray:
    """Draw points (N, 2) of several feature spaces side by side, colored by class.

    Returns
    -------
    array of Axes
        One per panel.
    """
    size = (11, 11 / len(panels) + 0.6)
    axes = plt.subplots(1, len(panels), figsize=size, squeeze=False)[1][0]
    for ax, (title, points) in zip(axes, panels.items(), strict=True):
        for number, name in enumerate(classes):
            x, y = np.asarray(points)[(labels == number).numpy()].T
            marker, color = "os^Dv"[number % 5], COLORS[number % len(COLORS)]
            ax.plot(x, y, marker, color=color, ms=5, alpha=0.7, label=name)
        ax.set(title=title, xticks=[], yticks=[], xlabel="first axis", ylabel="second axis")
    axes[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), handletextpad=0.1)
    return axes
