"""Figures in one style: colors that everybody can tell apart, text that the back row can read.

`show_images`, `plot_history`, `plot_confusion`, `plot_intervals` and `plot_filters` take
``ax=None`` and return the Axes, so that figures can be combined. Functions of other modules draw
in the same style with the decorator ``@styled()``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from torch import Tensor
from torch.nn import functional as F
from torchvision.utils import make_grid

from cnnlab.data.splits import to_float
from cnnlab.evaluation import Evaluation

if TYPE_CHECKING:
    from cnnlab.training import History

# Five colors of Okabe and Ito (2008), and two of Tol (2021) in place of their lightest: color-blind
# people can tell them apart, and all stand out from white (WCAG's contrast of 3 or more).
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#882255", "#332288", "#000000")


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the course's style (``cnnlab.mplstyle``), and leave the settings as they were.

    It is a decorator of functions that draw, and a context for a few lines.

    Examples
    --------
    >>> @styled()
    ... def font_size():
    ...     return plt.rcParams["font.size"]
    >>> font_size()
    12.0
    """
    with plt.style.context(Path(__file__).with_name("cnnlab.mplstyle")):
        yield


@styled()
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
    """Draw images as one mosaic, which is much faster than a subplot for each.

    Parameters
    ----------
    images : Tensor
        Shape (N, 1 or 3, H, W); uint8, or floats in [0, 1].
    titles : sequence of str, optional
        A line below each image.
    columns : int
        Images in a row.
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
    >>> import torch
    >>> ax = show_images(torch.rand(3, 3, 16, 16), ["a", "b", "c"])
    >>> [text.get_text() for text in ax.texts]
    ['a', 'b', 'c']
    """
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"{len(titles)} titles for {len(images)} images")
    columns = max(1, min(columns, len(images)))
    height_px, width_px = images.shape[-2:]
    lines = max((text.count("\n") + 1 for text in titles), default=0) if titles else 0
    inch = columns * (width_px + 2) / width  # pixels of the mosaic in an inch of the figure
    strip, gap = math.ceil(0.22 * lines * inch), max(2, round(0.06 * inch))
    mosaic = _mosaic(images, columns, gap, strip)
    ax = _axes(ax, width, width * mosaic.shape[0] / mosaic.shape[1] + (0.4 if title else 0))
    ax.imshow(mosaic.numpy(), interpolation="nearest" if width_px < 40 else "antialiased")
    for i, text in enumerate(titles or []):
        x = i % columns * (width_px + gap) + width_px / 2
        y = i // columns * (height_px + strip + gap) + height_px + 0.06 * inch
        color = colors[i] if colors else "black"
        ax.text(x, y, text, ha="center", va="top", fontsize=11, color=color)
    ax.set_title(title)
    ax.axis("off")
    return ax


@styled()
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


@styled()
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
    from sklearn.metrics import ConfusionMatrixDisplay

    matrix = evaluation.confusion_matrix()
    counts = matrix.to_array()  # (K, K)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    display = ConfusionMatrixDisplay(shares, display_labels=matrix.classes)
    side = 2.4 + 0.55 * len(counts)
    ax = _axes(ax, side + 0.6, side)
    display.plot(ax=ax, cmap="Blues", im_kw={"vmin": 0, "vmax": 1}, colorbar=False)
    for (row, column), text in np.ndenumerate(display.text_):
        share = f"\n{shares[row, column]:.0%}" if len(counts) <= 5 else ""
        text.set_text(f"{counts[row, column]}{share}")
    ax.set(xlabel="predicted", ylabel="true", title=title)
    return ax


@styled()
def plot_intervals(
    rows: Mapping[str, Evaluation | Sequence[float]],
    baseline: float | None = None,
    *,
    dots: Mapping[str, Sequence[float]] | None = None,
    xlabel: str = "accuracy on the test set, with 95 % interval",
    number: str = ".1%",
    ax: Axes | None = None,
) -> Axes:
    """Draw each row as a dot with its interval, best read from left to right.

    Parameters
    ----------
    rows : mapping
        Name -> Evaluation (its accuracy with Wilson's 95 % interval), or three numbers: value,
        lower and upper end. Drawn from top to bottom.
    baseline : float, optional
        Accuracy of the majority class, as a dotted line.
    dots : mapping, optional
        Name -> single values to draw as small dots, such as one for each seed.
    xlabel : str
        What the values are.
    number : str
        How they are written: as per cent, or ``".3f"`` for three decimals.
    ax : Axes, optional
        Where to draw.

    Examples
    --------
    >>> ax = plot_intervals({"with": (0.81, 0.80, 0.82)}, xlabel="Dice", number=".3f")
    >>> [text.get_text() for text in ax.texts]
    ['0.810']
    """
    ax = _axes(ax, 9, 0.9 + 0.55 * len(rows))
    for i, (name, row) in enumerate(rows.items()):
        if isinstance(row, Evaluation):
            row = (row.accuracy, *row.confidence_interval())
        value, low, high = row
        ax.plot([low, high], [i, i], color=COLORS[0], lw=3, solid_capstyle="butt")
        ax.plot(value, i, "o", color=COLORS[0], ms=9)
        ax.annotate(f"{value:{number}}", (high, i), (8, 0), textcoords="offset points", va="center")
        singles = (dots or {}).get(name, [])
        ax.plot(singles, [i] * len(singles), "o", color=COLORS[1], ms=6)
    if baseline is not None:
        ax.axvline(baseline, color="gray", ls=":")
        ax.text(baseline, -0.75, "majority class", color="dimgray", ha="center", va="bottom")
    ax.set_yticks(range(len(rows)), list(rows))
    ax.margins(x=0.12)
    ax.set(xlabel=xlabel, ylim=(len(rows) - 0.4, -0.8))
    if number.endswith("%"):
        ax.xaxis.set_major_formatter("{x:.0%}")
    return ax


@styled()
def plot_filters(weight: Tensor, *, columns: int = 16, ax: Axes | None = None) -> Axes:
    """Draw the kernels of a first layer (K, 3, k, k) as images, each scaled to its own range."""
    kernels = weight.detach().cpu().float()
    if kernels.ndim != 4 or kernels.shape[1] not in (1, 3):
        raise ValueError(f"kernels must have shape (K, 1 or 3, k, k), got {tuple(kernels.shape)}")
    largest = kernels.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
    gray_is_zero = 0.5 + 0.5 * kernels / largest
    return show_images(gray_is_zero, columns=columns, ax=ax)


def _axes(ax: Axes | None, width: float, height: float) -> Axes:
    return ax if ax is not None else plt.subplots(figsize=(width, height))[1]


def _mosaic(images: Tensor, columns: int, gap: int, strip: int) -> Tensor:
    """Lay images (N, C, H, W) side by side on white, with a strip below each for its title.

    Returns one image (rows·(H + strip + gap), columns·(W + gap), 3) in [0, 1].
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images must have shape (N, 1 or 3, H, W), got {tuple(images.shape)}")
    pixels = to_float(images.detach().cpu()).float().clamp(0, 1).expand(-1, 3, -1, -1)
    spaced = F.pad(pixels, (0, gap, 0, strip + gap), value=1.0)  # right and below
    return make_grid(spaced, nrow=columns, padding=0, pad_value=1.0).permute(1, 2, 0)
