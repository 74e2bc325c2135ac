"""Capacity against data: networks of growing width on subsets of growing size."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MultipleLocator
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.evaluation import Evaluation, evaluate
from cnnlab.splits import Augment, ImageData, divide, to_float
from cnnlab.style import COLOURS, styled
from cnnlab.training import fit

__all__ = [
    "CapacityGrid", "capacity_grid", "plot_capacity", "plot_errors", "shift_turn_scale",
    "small_convnet", "train_small",
]  # fmt: skip


def small_convnet(width: int, num_classes: int = 10, dropout: float = 0.0) -> nn.Sequential:
    """Return two convolutions with `width` channels and a linear layer, for pictures of 28 × 28.

    Examples
    --------
    >>> small_convnet(8)(torch.zeros(1, 1, 28, 28)).shape
    torch.Size([1, 10])
    """
    return nn.Sequential(
        nn.Conv2d(1, width, kernel_size=5, stride=2, padding=2),  # (B, width, 14, 14)
        nn.ReLU(),
        nn.Conv2d(width, width, kernel_size=5, stride=2, padding=2),  # (B, width, 7, 7)
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(49 * width, num_classes),
    )


def shift_turn_scale(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each picture by up to 2 of 28 pixels, turn it by 15°, scale it by 20 %; at random.

    Nothing is mirrored: a mirrored 2 is no 2. What comes in from beyond the edge is black.

    Examples
    --------
    >>> images = torch.zeros(4, 1, 28, 28, dtype=torch.uint8)
    >>> shift_turn_scale(images, torch.Generator().manual_seed(0)).shape
    torch.Size([4, 1, 28, 28])
    """
    u = 2 * torch.rand(4, len(images), generator=generator) - 1  # each in [-1, 1]
    scale, angle, (x, y) = torch.exp(0.2 * u[0]), math.radians(15) * u[1], 0.15 * u[2:]
    cos, sin = scale * angle.cos(), scale * angle.sin()
    maps = torch.stack([cos, -sin, x, sin, cos, y], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(to_float(images), grid, align_corners=False)


def train_small(
    data: ImageData,
    width: int,
    *,
    epochs: int,
    dropout: float = 0.0,
    weight_decay: float = 0.0,
    augment: Augment | None = None,
    seed: int = 0,
) -> tuple[Evaluation, Evaluation]:
    """Train a :func:`small_convnet`, keep its last weights, and evaluate it on train and val.

    Examples
    --------
    >>> from cnnlab import load_mnist
    >>> train, val = train_small(load_mnist("digits", limit=30), width=8, epochs=60)
    Data: scikit-learn's 1,797 handwritten digits.
    >>> train.accuracy, val.accuracy < 0.9
    (1.0, True)
    """
    torch.manual_seed(seed)
    model = small_convnet(width, len(data.classes), dropout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=weight_decay)
    loaders = data.loaders(augment=augment, seed=seed)
    with contextlib.redirect_stdout(io.StringIO()):  # many trainings: no bar for each
        fit(model, loaders.train, epochs=epochs, optimizer=optimizer)
    as_it_is = data.loaders().train  # not augmented
    return evaluate(model, as_it_is), evaluate(model, loaders.val)


@dataclass(frozen=True)
class CapacityGrid:
    """Errors of networks of W widths on N subsets, each measured with S seeds.

    Attributes
    ----------
    widths, sizes, parameters : list of int
        Channels (W), training images (N), and parameters of each network (W).
    train_error, val_error : Tensor
        Share of wrong answers, shape (S, W, N).
    """

    widths: list[int]
    sizes: list[int]
    parameters: list[int]
    train_error: Tensor
    val_error: Tensor


def capacity_grid(
    data: ImageData,
    widths: Sequence[int],
    sizes: Sequence[int],
    seeds: Sequence[int],
    steps: int = 200,
) -> CapacityGrid:
    """Train every width on every size, and measure both errors.

    Each training takes about as many steps, however few images there are: the fewer, the more
    often each is seen. Each seed draws other images and other weights.
    """
    errors = torch.zeros(2, len(seeds), len(widths), len(sizes))
    for s, seed in enumerate(seeds):
        for n, size in enumerate(sizes):
            few = replace(data, train=divide(data.train, size, seed)[1])
            epochs = max(1, steps // len(few.loaders().train))
            for w, width in enumerate(widths):
                results = train_small(few, width, epochs=epochs, seed=seed)
                errors[:, s, w, n] = torch.tensor([1 - result.accuracy for result in results])
    parameters = [sum(p.numel() for p in small_convnet(width).parameters()) for width in widths]
    return CapacityGrid(list(widths), list(sizes), parameters, *errors)


def plot_errors(grid: CapacityGrid, ax: Axes | None = None) -> Axes:
    """Draw training and validation error of the narrowest and the widest network over the size."""
    with styled():
        ax = ax if ax is not None else plt.subplots(figsize=(9, 4))[1]
        for colour, w in ((COLOURS[1], 0), (COLOURS[0], -1)):
            name = f"{grid.parameters[w]:,} parameters"
            train, val = (e[:, w].mean(dim=0) for e in (grid.train_error, grid.val_error))
            ax.plot(grid.sizes, val, "o-", color=colour, lw=2, label=f"{name}, validation")
            ax.plot(grid.sizes, train, "o:", color=colour, lw=2, label=f"{name}, training")
            ax.fill_between(grid.sizes, train, val, color=colour, alpha=0.12, lw=0)
        ax.set_xscale("log")
        ax.set_xticks(grid.sizes, [f"{size:,}" for size in grid.sizes], minor=False)
        ax.set_xticks([], minor=True)
        ax.yaxis.set_major_locator(MultipleLocator(0.05))
        ax.yaxis.set_major_formatter("{x:.0%}")
        ax.set(xlabel="training images", ylabel="error", ylim=(-0.01, None))
        ax.legend()
    return ax


def plot_capacity(grid: CapacityGrid) -> np.ndarray:
    """Draw the mean training and validation error of every width and size, side by side."""
    names = [f"{p:,}" for p in grid.parameters]
    with styled():
        axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True)[1]
        pairs = [("training error", grid.train_error), ("validation error", grid.val_error)]
        limit = grid.val_error.mean(dim=0).max().item()
        for ax, (title, errors) in zip(axes, pairs, strict=True):
            mean = errors.mean(dim=0).numpy()  # (W, N)
            ax.imshow(mean, cmap="Blues", vmin=0, vmax=limit, aspect="auto")
            for (row, column), value in np.ndenumerate(mean):
                colour = "white" if value > 0.55 * limit else "black"
                ax.text(column, row, f"{value:.1%}", ha="center", va="center", color=colour)
            ax.set_xticks(range(len(grid.sizes)), [f"{size:,}" for size in grid.sizes])
            ax.set_yticks(range(len(names)), names)
            ax.set(title=title, xlabel="training images")
            ax.spines[:].set_visible(False)
            ax.tick_params(length=0)
        axes[0].set_ylabel("parameters")
    return axes
