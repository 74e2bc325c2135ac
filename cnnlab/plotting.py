"""Figures in one style: colors that everybody can tell apart, text that the back row can read.

Every function takes ``ax=None`` and returns the Axes, so that figures can be combined.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from cnnlab.evaluation import Evaluation
from cnnlab.runtime import in_notebook

if TYPE_CHECKING:
    from cnnlab.training import History

__all__ = [
    "COLORS",
    "describe",
    "plot_confusion",
    "plot_feature_maps",
    "plot_filters",
    "plot_history",
    "plot_intervals",
    "show_images",
    "styled",
]

# Okabe and Ito's palette (2008), which color-blind people can tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")

_SETTINGS = {
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.labelsize": 12,
    "legend.fontsize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def styled() -> AbstractContextManager[None]:
    """Draw in the course's style inside a ``with`` block, and leave the settings as they were.

    Examples
    --------
    >>> import matplotlib
    >>> with styled():
    ...     matplotlib.rcParams["font.size"]
    12.0
    """
    import matplotlib
    from cycler import cycler

    return matplotlib.rc_context({**_SETTINGS, "axes.prop_cycle": cycler(color=COLORS)})


P = ParamSpec("P")
R = TypeVar("R")


def _styled(function: Callable[P, R]) -> Callable[P, R]:
    """Draw in the course's style and leave matplotlib's settings as they were."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with styled():
            return function(*args, **kwargs)

    return wrapper


def _axes(ax: Axes | None, width: float, height: float) -> Axes:
    return ax if ax is not None else plt.subplots(figsize=(width, height))[1]


def describe(drawing: Axes | np.ndarray | Figure, text: str) -> None:
    """Show a figure with an alternative text for people who cannot see it.

    Parameters
    ----------
    drawing : Axes, array of Axes or Figure
        What a plotting function returned.
    text : str
        One sentence that says what there is to see.

    Raises
    ------
    ValueError
        If the text is empty.
    """
    if not text.strip():
        raise ValueError("the alternative text is empty; say in a sentence what there is to see")
    first = drawing.flat[0] if isinstance(drawing, np.ndarray) else drawing
    figure = first if isinstance(first, Figure) else first.get_figure()
    if in_notebook():
        display_figure(figure, text)
        plt.close(figure)
    else:
        plt.show()


def mosaic(images: Tensor, columns: int, gap: int = 2, strip: int = 0) -> Tensor:
    """Lay pictures (N, C, H, W) side by side on white, with a strip below each for its title.

    Returns
    -------
    Tensor
        One picture (rows·(H + strip + gap) - gap, columns·(W + gap) - gap, 3), floats in [0, 1].

    Examples
    --------
    >>> mosaic(torch.zeros(5, 3, 8, 8), columns=3).shape
    torch.Size([18, 28, 3])
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"pictures must have shape (N, 1 or 3, H, W), got {tuple(images.shape)}")
    pixels = images.detach().cpu()
    pixels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float().clamp(0, 1)
    pixels = pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)  # (N, H, W, 3)
    _, height, width, _ = pixels.shape
    rows = -(-len(pixels) // columns)
    canvas = torch.ones(rows * (height + strip + gap), columns * (width + gap), 3)
    for i, picture in enumerate(pixels):
        top, left = i // columns * (height + strip + gap), i % columns * (width + gap)
        canvas[top : top + height, left : left + width] = picture
    return canvas[: canvas.shape[0] - gap, : canvas.shape[1] - gap]


@_styled
def show_images(
    images: Tensor,
    titles: Sequence[str] | None = None,
    *,
    columns: int = 8,
    colors: Sequence[str] | None = None,
    width: float = 10,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw pictures as one mosaic, which is much faster than a subplot for each.

    Parameters
    ----------
    images : Tensor
        Shape (N, 1 or 3, H, W); uint8, or floats in [0, 1].
    titles : sequence of str, optional
        A line below each picture.
    columns : int
        Pictures in a row.
    colors : sequence of str, optional
        Color of each title; black if None.
    width : float
        Width of the figure in inches.
    title : str
        Above the mosaic.
    ax : Axes, optional
        Where to draw.

    Examples
    --------
    >>> ax = show_images(torch.rand(3, 3, 16, 16), ["a", "b", "c"])
    >>> [text.get_text() for text in ax.texts]
    ['a', 'b', 'c']
    """
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"{len(titles)} titles for {len(images)} pictures")
    columns = max(1, min(columns, len(images)))
    height_px, width_px = images.shape[-2:]
    lines = max((text.count("\n") + 1 for text in titles), default=0) if titles else 0
    inch = columns * (width_px + 2) / width  # pixels of the mosaic in an inch of the figure
    strip, gap = math.ceil(0.22 * lines * inch), max(2, round(0.06 * inch))
    picture = mosaic(images, columns, gap, strip)
    ax = _axes(ax, width, width * picture.shape[0] / picture.shape[1] + (0.4 if title else 0))
    ax.imshow(picture.numpy(), interpolation="nearest" if width_px < 40 else "antialiased")
    for i, text in enumerate(titles or []):
        x = i % columns * (width_px + gap) + width_px / 2
        y = i // columns * (height_px + strip + gap) + height_px + 0.06 * inch
        color = colors[i] if colors else "black"
        ax.text(x, y, text, ha="center", va="top", fontsize=11, color=color)
    ax.set_title(title)
    ax.axis("off")
    return ax


@_styled
def plot_history(history: History, ax: Any = None) -> np.ndarray:
    """Draw loss and accuracy over the epochs, and mark the epoch whose weights were kept.

    Parameters
    ----------
    history : History
        From ``fit``.
    ax : pair of Axes, optional
        Where to draw loss and accuracy.

    Returns
    -------
    array of Axes
        Two of them.
    """
    axes = plt.subplots(1, 2, figsize=(10, 3.4))[1] if ax is None else np.asarray(ax)
    epochs = np.arange(1, len(history) + 1)
    for axis, name in zip(axes, ("loss", "accuracy"), strict=True):
        axis.plot(epochs, history[name], color=COLORS[0], label="training")
        if history.records and f"val_{name}" in history.records[0]:
            axis.plot(epochs, history[f"val_{name}"], color=COLORS[1], label="validation")
        if history.best_epoch is not None:
            axis.axvline(history.best_epoch + 1, color="gray", ls=":", label="weights kept")
        axis.set(xlabel="epoch", ylabel="cross-entropy (nats)" if name == "loss" else name)
        axis.set_ylim(bottom=0, top=1.02 if name == "accuracy" else None)
    axes[1].legend(loc="lower right")
    return axes


@_styled
def plot_confusion(evaluation: Evaluation, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the confusion matrix: rows are the true classes, columns what the model said.

    Parameters
    ----------
    evaluation : Evaluation
        From ``evaluate``; the counts are pycm's.
    title : str
        Above the matrix.
    ax : Axes, optional
        Where to draw.
    """
    matrix = evaluation.confusion_matrix()
    counts = matrix.to_array()  # (K, K)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    names = [str(name) for name in matrix.classes]
    side = 2.4 + 0.55 * len(names)
    ax = _axes(ax, side + 0.6, side)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if shares[row, column] > 0.55 else "black"
        text = f"{count}\n{shares[row, column]:.0%}" if len(names) <= 5 else str(count)
        ax.text(column, row, text, ha="center", va="center", color=color, fontsize=12)
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="predicted", ylabel="true", title=title)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return ax


@_styled
def plot_intervals(
    evaluations: dict[str, Evaluation], baseline: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw each accuracy as a dot with its 95 % interval (Wilson), best read from left to right.

    Parameters
    ----------
    evaluations : dict
        Name -> Evaluation, drawn from top to bottom.
    baseline : float, optional
        Accuracy of the majority class, as a dotted line.
    ax : Axes, optional
        Where to draw.
    """
    ax = _axes(ax, 9, 0.9 + 0.55 * len(evaluations))
    for row, (_name, evaluation) in enumerate(evaluations.items()):
        low, high = evaluation.confidence_interval()
        color = COLORS[row % len(COLORS)]
        ax.plot([low, high], [row, row], color=color, lw=3, solid_capstyle="butt")
        ax.plot(evaluation.accuracy, row, "o", color=color, ms=9)
        ax.text(high + 0.01, row, f"{evaluation.accuracy:.1%}", va="center")
    if baseline is not None:
        ax.axvline(baseline, color="gray", ls=":")
        ax.text(baseline, -0.75, "majority class", color="dimgray", ha="center", va="bottom")
    ax.set_yticks(range(len(evaluations)), list(evaluations))
    left = min(ax.dataLim.x0, baseline or 1) - 0.08
    ax.set(xlabel="accuracy on the test set, with 95 % interval", xlim=(left, 1.06))
    ax.set_ylim(len(evaluations) - 0.4, -0.8)
    ax.xaxis.set_major_formatter("{x:.0%}")
    return ax


@_styled
def plot_filters(weight: Tensor, *, columns: int = 16, ax: Axes | None = None) -> Axes:
    """Draw the kernels of a first layer (K, 3, k, k) as pictures, each scaled to its own range."""
    kernels = weight.detach().cpu().float()
    if kernels.ndim != 4 or kernels.shape[1] not in (1, 3):
        raise ValueError(f"kernels must have shape (K, 1 or 3, k, k), got {tuple(kernels.shape)}")
    largest = kernels.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
    gray_is_zero = 0.5 + 0.5 * kernels / largest
    return show_images(gray_is_zero, columns=columns, ax=ax)


@_styled
def plot_feature_maps(maps: Tensor, *, columns: int = 8, ax: Axes | None = None) -> Axes:
    """Draw the channels (C, H, W) that one picture produces, each scaled to its own range."""
    if maps.ndim != 3:
        raise ValueError(f"feature maps must have shape (C, H, W), got {tuple(maps.shape)}")
    values = maps.detach().cpu().float()
    low, high = values.amin(dim=(1, 2), keepdim=True), values.amax(dim=(1, 2), keepdim=True)
    scaled = (values - low) / (high - low).clamp(min=1e-12)
    colored = torch.from_numpy(plt.get_cmap("viridis")(scaled.numpy())[..., :3])  # (C, H, W, 3)
    return show_images(colored.permute(0, 3, 1, 2), columns=columns, ax=ax)


def display_figure(figure: Any, text: str) -> None:
    """Show a figure in a notebook, with an alternative text for people who cannot see it."""
    from IPython.display import display

    display(figure, metadata={"image/png": {"alt": text}})
